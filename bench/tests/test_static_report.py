"""Kernels are compiled as launched, for cards that are not here, and both of NVIDIA's tools agree."""

import pytest

from ..binary import machine_code, static_report


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def kernels():
    """Imported late: asv imports every module of this folder, and torch is not to come with it."""
    pytest.importorskip("triton")
    from .samples import triton_kernels

    return triton_kernels


def report(call, targets=(90,)):
    return static_report.report(call, targets)


def test_needs_are_read_for_every_target(kernels, torch):
    a = torch.ones(64, 64, dtype=torch.bfloat16)
    found = {each.target: each for each in report(lambda: kernels.product(a, a), (80, 90, 100))}
    assert sorted(found) == [80, 90, 100]
    wanted = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}
    for target, each in found.items():
        assert each.kernel == "_product_kernel"
        assert each.error == ""
        assert each.code is not None
        assert list(each.code.matrix) == [wanted[target]]
        assert 0 < each.code.registers <= 255
        assert each.code.spill_stores == each.code.spill_loads == each.code.local == 0
        assert each.fits
        assert each.constants == {"N": 64}
    # the operands pass through shared storage: at least one of 64 x 64 bfloat16
    assert found[90].shared >= 64 * 64 * 2


def test_product_without_the_cards_own_instruction_is_seen(kernels, torch):
    # 16 rows are too few for the instruction of sm_90, which runs that of sm_80 as well
    a = torch.ones(16, 16).bfloat16()
    found = {each.target: each for each in report(lambda: kernels.product(a, a), (80, 90))}
    assert all(each.products == 1 for each in found.values())
    assert found[80].matrix_instructions > 0
    assert found[90].matrix_instructions == 0
    assert found[90].code is not None
    assert sum(found[90].code.matrix.values()) > 0
    assert {target: each.older_products for target, each in found.items()} == {80: 0, 90: 1}


def test_product_that_no_matrix_instruction_computes_is_an_older_one(kernels, torch, monkeypatch):
    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")
    for each in report(lambda: kernels.product(torch.ones(64, 64), torch.ones(64, 64)), (80, 90)):
        assert (each.products, each.older_products) == (1, 1)
        assert each.code is not None
        assert not each.code.matrix


def test_spills_are_seen_by_ptxas_and_in_the_code(kernels, torch):
    (each,) = report(lambda: kernels.greedy(torch.ones(64, 64)))
    assert each.code is not None
    assert each.code.registers == 255
    assert each.code.spill_stores > 0
    assert each.code.spill_loads > 0
    assert each.code.local > 0
    assert each.threads == 32


def test_block_that_asks_for_too_many_shared_bytes_does_not_fit(kernels, torch):
    a, b = torch.ones(64, 2048).bfloat16(), torch.ones(2048, 64).bfloat16()
    few, many = (report(lambda n=n: kernels.staged(a, b, n), (80,))[0] for n in (3, 14))
    # 14 stages of two 64 x 64 tiles in bfloat16 are 224 KiB
    assert few.shared < few.shared_limit == 163 * 1024 < many.shared
    assert few.fits
    assert many.error == ""
    assert not many.fits


@pytest.mark.parametrize("width", [64, 128])
def test_warps_that_bring_tiles_stand_beside_those_that_multiply(torch, width):
    pytest.importorskip("triton")
    from correctness.op import find
    from impl.registry import load

    op, run = find("linear_attention"), load("chunkwise.linear_attention_fused").run
    given = op.inputs({"B": 1, "T": 128, "H": 2, "K": width, "V": width})
    given = {name: x.to(torch.bfloat16) for name, x in given.items()}
    assert run is not None
    (each,) = report(lambda: run(**given, descriptors=True))
    assert each.threads > 32 * each.options["num_warps"]
    assert each.code is not None
    assert each.code.spill_stores == each.code.spill_loads == 0
    assert list(each.code.matrix) == ["HGMMA"]
    assert each.fits


def test_alignment_comes_from_the_pointers_of_the_launch(kernels, torch):
    aligned, shifted = torch.ones(4096), torch.ones(4097)[1:]
    assert shifted.data_ptr() % 16
    (a,), (s,) = (report(lambda x=x: kernels.scale(x)) for x in (aligned, shifted))
    assert a.code is not None
    assert s.code is not None
    assert a.code.digest != s.code.digest
    # an unaligned row is read word by word
    assert s.code.instructions > a.code.instructions


def test_kernels_of_the_backward_pass_are_seen(kernels, torch):
    x = torch.ones(32, 32, requires_grad=True)
    found = report(lambda: kernels.Doubled.apply(x).sum().backward())
    assert [each.kernel for each in found] == ["_scale_kernel", "_product_kernel"]


def test_equal_launches_are_counted_and_not_repeated(kernels, torch):
    x = torch.ones(4096)

    def twice():
        kernels.scale(x)
        kernels.scale(x)

    (each,) = report(twice)
    assert each.launches == 2
    assert each.grid == (4,)


def test_every_configuration_of_a_tuner_is_compiled(kernels, torch):
    found = report(lambda: kernels.scale_tuned(torch.ones(4096)))
    assert [each.constants["BLOCK"] for each in found] == [128, 256]
    assert [each.grid for each in found] == [(32,), (16,)]


def test_digest_is_of_the_instructions_and_not_of_their_source(kernels, torch):
    x = torch.ones(4096)
    scaled, doubled = report(
        lambda: (
            kernels.scale(x),
            kernels.scale(x, kernels._doubling_kernel),
        )
    )
    assert scaled.kernel != doubled.kernel
    assert scaled.code == doubled.code


def test_kernel_that_does_not_compile_is_reported_beside_the_others(kernels, torch):
    x = torch.ones(4096)

    def call():
        kernels._scale_kernel[(1,)](x, x, 4096, BLOCK=100)
        kernels.scale(x)

    wrong, right = report(call)
    assert "power of 2" in wrong.error
    assert wrong.code is None
    assert not wrong.fits
    assert right.error == ""


def test_launching_works_as_before_afterwards(kernels, torch):
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    before = JITFunction.run, Autotuner.run, driver._active
    with pytest.raises(ZeroDivisionError):
        report(lambda: (kernels.scale(torch.ones(64)), 1 / 0))
    assert before == (JITFunction.run, Autotuner.run, driver._active)


def test_target_without_a_card_is_refused():
    with pytest.raises(ValueError, match=r"compute capability 70 .* want"):
        report(lambda: None, (70,))


def test_disagreement_of_the_tools_is_an_error(monkeypatch, kernels, torch):
    real = machine_code._usage
    monkeypatch.setattr(
        machine_code,
        "_usage",
        lambda text: {**real(text), "registers": real(text)["registers"] + 1},
    )
    with pytest.raises(RuntimeError, match="other flags"):
        report(lambda: kernels.scale(torch.ones(4096)))


def test_log_of_ptxas_is_read_and_an_empty_one_refused():
    log = (
        "ptxas info    : Function properties for k\n"
        "    528 bytes stack frame, 400 bytes spill stores, 336 bytes spill loads\n"
        "ptxas info    : Used 255 registers, used 1 barriers, 528 bytes cumulative stack size\n"
    )
    assert machine_code.parse_log(log) == {
        "registers": 255,
        "stack": 528,
        "spill_stores": 400,
        "spill_loads": 336,
    }
    with pytest.raises(RuntimeError, match="printed no usage"):
        machine_code.parse_log("")
