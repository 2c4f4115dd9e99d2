"""What every Triton kernel of a call needs on cards that are not here: compiled, never launched.

The call runs on CPU tensors under a driver that pretends to be the card. Each launch is specialised
on its real arguments - alignment of each pointer, divisibility of each integer - compiled for the
card, and skipped, so outputs hold whatever the allocator left. Launches of a backward pass inside
the call are seen too. A tuned kernel is compiled in every configuration its tuner would try.

Triton refuses a kernel that needs more shared bytes than a block may have only when it loads it on
the card; ``fits`` says so here.
"""

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..hardware.roofline import Card, cards
from . import machine_code

TARGETS = (80, 90, 100)
"""Compute capabilities of A100, of H100 and H200, and of B200."""
OWN = {8: "HMMA", 9: "HGMMA", 10: "UTC"}
"""Opcode of the matrix instruction that came with a card, by the first digits of its capability."""

DOT = re.compile(r"= tt\.dot .*-> tensor<[^>]*#(\w+)>")
"""A product in triton's common form, with the name of the layout it is computed in."""


@dataclass(frozen=True, kw_only=True)
class KernelReport:
    """One kernel, specialised as launched, on one compute capability."""

    kernel: str
    target: int
    """Compute capability as compilers write it: 90."""
    constants: Mapping[str, Any]
    """Values of the kernel's ``tl.constexpr`` parameters."""
    options: Mapping[str, Any]
    """Launch options that were given: ``num_warps``, ``num_stages``."""
    grid: tuple[int, ...]
    """Programs of the first launch by axis."""
    launches: int
    """Launches of exactly this code in one call."""
    threads: int
    """Threads of a block."""
    shared: int
    """Bytes of shared storage of a block."""
    shared_limit: int
    """Bytes a block may opt in to on this card."""
    products: int
    """Matrix products in the kernel's code, before any compiler has chosen an instruction."""
    older_products: int
    """Of the products as compiled, those for which the card's own matrix instruction was not chosen."""
    code: machine_code.MachineCode | None
    """None when it did not compile."""
    error: str
    """Why it did not compile; empty when it did."""

    @property
    def matrix_instructions(self) -> int:
        """Static count of the card's own matrix instruction; an older card's, which it runs too, is none."""
        own = OWN[self.target // 10]
        return (
            sum(n for name, n in self.code.matrix.items() if name.startswith(own))
            if self.code
            else 0
        )

    @property
    def fits(self) -> bool:
        """Whether the card can launch it."""
        return not self.error and self.shared <= self.shared_limit


def report(call: Callable[[], object], targets: Sequence[int] = TARGETS) -> list[KernelReport]:
    """Every Triton kernel that ``call`` launches, once per distinct code, for each target.

    ``call`` runs once per target. ValueError for a target of which ``suites/gpus.toml`` has no card.
    """
    found = {target: _card(target) for target in targets}
    reports: list[KernelReport] = []
    for target, card in found.items():
        launches = _Launches(card, target)
        with launches.collected():
            call()
        reports += launches.reports.values()
    return reports


def _card(target: int) -> Card:
    for card in cards().values():
        if card.sms and card.target == target:
            return card
    known = sorted({card.target for card in cards().values() if card.sms})
    raise ValueError(f"no card of compute capability {target} in suites/gpus.toml, want {known}")


@dataclass
class _Launches:
    """Stands in for the driver and the launcher of one card while a call runs."""

    card: Card
    target: int
    reports: dict[str, KernelReport] = field(default_factory=dict)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Inside, every kernel is compiled for the card instead of launched."""
        from triton.runtime.autotuner import Autotuner
        from triton.runtime.driver import driver
        from triton.runtime.jit import JITFunction

        # both classes are patched, whose signatures are not ours
        jit: Any = JITFunction
        tuner: Any = Autotuner
        compile_only, tune, active = jit.run, tuner.run, driver._active

        def run(kernel: Any, *args: Any, grid: Any, warmup: bool = False, **given: Any) -> Any:
            return self._compile(compile_only, kernel, args, grid, given)

        jit.run, tuner.run = run, _every_configuration
        driver.set_active(_Driver(self.card, self.target))  # pyright: ignore[reportArgumentType]
        try:
            yield
        finally:
            jit.run, tuner.run, driver._active = compile_only, tune, active

    def _compile(
        self, compile_only: Any, kernel: Any, args: Any, grid: Any, given: Mapping[str, Any]
    ) -> Any:
        values: dict[str, Any] = {p.name: p.default for p in kernel.params if p.has_default}
        values |= dict(zip(kernel.arg_names, args, strict=False))
        values |= {name: value for name, value in given.items() if name in kernel.arg_names}
        blank = KernelReport(
            kernel=kernel.fn.__name__,
            target=self.target,
            constants={p.name: values[p.name] for p in kernel.params if p.is_constexpr},
            options={name: value for name, value in given.items() if name not in kernel.arg_names},
            grid=_extent(grid, values),
            launches=1,
            threads=0,
            shared=0,
            shared_limit=self.card.smem_block_kib * 1024,
            products=0,
            older_products=0,
            code=None,
            error="",
        )
        try:
            # on failure triton prints the whole program, and its warnings are about coming versions
            with (
                contextlib.redirect_stdout(io.StringIO()),
                warnings.catch_warnings(action="ignore"),
            ):
                compiled = compile_only(kernel, *args, grid=grid, warmup=True, **given)
        # whatever a compiler raises is a finding about this card, to be reported beside the others
        except Exception as error:
            failed = dataclasses.replace(blank, error=_reason(error))
            self._add(f"{blank.kernel} {blank.constants}", lambda: failed)
            return None
        self._add(compiled.hash, lambda: _needs(blank, compiled))
        return compiled

    def _add(self, key: str, describe: Callable[[], KernelReport]) -> None:
        known = self.reports.get(key)
        if known is not None:
            self.reports[key] = dataclasses.replace(known, launches=known.launches + 1)
        else:
            self.reports[key] = describe()


def _needs(blank: KernelReport, compiled: Any) -> KernelReport:
    metadata = compiled.metadata
    return dataclasses.replace(
        blank,
        # warp specialisation adds warps to those that were asked for
        threads=32 * (_total_warps(compiled.asm["ttgir"]) or metadata.num_warps),
        shared=metadata.shared,
        products=compiled.asm["ttir"].count("tt.dot"),
        older_products=_older_products(compiled.asm["ttgir"], blank.target),
        code=machine_code.read(compiled.asm["cubin"], compiled.asm["ptx"], *_assembler(compiled)),
    )


def _older_products(ttgir: str, target: int) -> int:
    """Products that are left in triton's common form: an instruction of a later card has one of its own."""
    layouts = DOT.findall(ttgir)
    if target // 10 > 8:
        return len(layouts)
    return sum(not layout.startswith("mma") for layout in layouts)


def _total_warps(ttgir: str) -> int:
    _, found, rest = ttgir.partition('"ttg.total-num-warps" = ')
    return int(rest.split()[0]) if found else 0


def _assembler(compiled: Any) -> tuple[str, tuple[str, ...]]:
    """The ptxas that made ``compiled`` and the flags that decide over its code."""
    import inspect

    from triton.backends.nvidia import compiler

    arch = compiled.metadata.target.arch
    target = compiled.asm["ptx"].split(".target", 1)[1].split()[0].strip(",")
    flags = [f"--gpu-name={target}", "-lineinfo"]
    # newer versions of triton work around a fault of ptxas with it
    if "--regAllocOptLevel=2" in inspect.getsource(compiler.CUDABackend.make_cubin):
        flags.append("--regAllocOptLevel=2")
    if not compiled.metadata.enable_fp_fusion:
        flags.append("--fmad=false")
    flags += (compiled.metadata.ptx_options or "").split()
    return compiler.get_ptxas(arch).path, tuple(flags)


def _extent(grid: Any, values: Mapping[str, Any]) -> tuple[int, ...]:
    extent: Any = grid(values) if callable(grid) else grid
    return tuple(extent)


def _reason(error: BaseException) -> str:
    # triton wraps a cause in a message for each function that it went through, the last line a caret
    while cause := error.__cause__ or error.__context__:
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300] if lines else 'no message'}"


def _every_configuration(tuner: Any, *args: Any, **given: Any) -> Any:
    """Runs in place of ``Autotuner.run``: every configuration that is left after pruning."""
    tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
    compiled = None
    for config in tuner.prune_configs(given):
        full = {**given, **config.all_kwargs()}
        if config.pre_hook:
            config.pre_hook({**tuner.nargs, **full})
        compiled = tuner.fn.run(*args, **full)
    tuner.nargs = None
    return compiled


class _Driver:
    """Enough of triton's driver to specialise and compile for a card that is not here."""

    launcher_cls = None

    def __init__(self, card: Card, target: int) -> None:
        self._card = card
        self._target = target
        self.utils = self

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._target, 32)

    def get_current_device(self) -> int:
        # kernels are cached by device number: no real card may ever find these
        return 10_000 + self._target

    def set_current_device(self, device: int) -> None:
        pass

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_device_capability(self, device: int | None = None) -> tuple[int, int]:
        return divmod(self._target, 10)

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        import torch

        return torch.cpu

    def map_python_to_cpp_type(self, name: str) -> str:
        return name

    def get_device_properties(self, device: int) -> Mapping[str, int]:
        card = self._card
        return {
            "max_shared_mem": card.smem_block_kib * 1024,
            "multiprocessor_count": card.sms,
            "max_num_regs": card.registers_sm,
            "warpSize": 32,
            "sm_clock_rate": card.boost_mhz * 1000,
        }
