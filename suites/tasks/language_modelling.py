"""Language modelling: the next byte of Python's own standard library.

Windows are cut at random from modules of the library, so that every machine has the text: ``TRAINED``
are learned, ``CHOOSING`` are what a sweep of learning rates looks at, and only ``SCORED`` is scored,
where a window is twice as long. All are ASCII and identical in the versions of Python named beside
``DIGESTS``; where a module is not that text its ValueError says so, and nothing is trained. The text is
finite: training meets a byte again, scoring never meets a module that was trained.

The score is the perplexity a byte. Its floor is that of counted pairs, since the byte at hand needs no
memory; best is called that of counted runs of ``ORDER`` bytes, which a model may go below. Nothing
must fail: the convolutions of the two layers see seven bytes, and at this budget the model passes
with a linear layer in the mixer's place too. So it ranks mixers by how well they train on text; what
one remembers beyond those bytes it does not tell.
"""

import functools
import hashlib
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suites.tasks import Batch, Task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

BYTES = 128
"""Different ones: all is ASCII."""
ORDER = 3
"""Longest run of bytes that the counting predictor knows."""
TRAINED = (
    "difflib",
    "optparse",
    "concurrent.futures._base",
    "email.headerregistry",
    "weakref",
    "tracemalloc",
    "xml.sax.handler",
    "json.__init__",
    "unittest.suite",
    "xml.dom.xmlbuilder",
    "xml.sax.saxutils",
    "xml.dom.pulldom",
    "multiprocessing.heap",
    "email.contentmanager",
    "email.quoprimime",
    "urllib.robotparser",
    "email._encoded_words",
    "wsgiref.headers",
    "multiprocessing.sharedctypes",
    "_py_abc",
    "_weakrefset",
    "_compression",
    "zoneinfo._common",
    "__future__",
    "asyncio.windows_utils",
)
CHOOSING = ("string", "pyclbr", "_threading_local", "unittest.util")
SCORED = (
    "tomllib._parser",
    "graphlib",
    "_markupbase",
    "multiprocessing.reduction",
    "asyncio.protocols",
)
# of Python 3.11.2, 3.11.7, 3.12.1 and 3.13.0
DIGESTS: Mapping[str, str] = {
    "difflib": "0c6afc23568d55b3e9ac914f9c5361e3033e778aa5b58d3cc82835fc5c638679",
    "optparse": "07d224301cba312fa0697bff9cd5a4bb4f778a90629632091b3f4ae874d89af5",
    "concurrent.futures._base": "8c6d5f09f7c535d40fa1c30ebfcb35e0601c2abf32286a82cf151af7ddf72473",
    "email.headerregistry": "fada56c25b6a457c6a62af43f9f929bbc29424103ce65f40f114adb4fdf3d39f",
    "weakref": "56f8d313fb74019e53eb9287400702fbce788b7fe30e097b0b6e06296f3f080c",
    "tracemalloc": "c2cc84a05b824df79840c98729a0e94ef8909b11c528a1b2c5a00aa436b97b25",
    "xml.sax.handler": "64c7aae49f1dd382a7b9012610307bfa1d43a14a5dc09a5c8da30903f6805c3d",
    "json.__init__": "d5d41e2c29049515d295d81a6d40b4890fbec8d8482cfb401630f8ef2f77e4d5",
    "unittest.suite": "ed2da92bc9f97c53403ee2d3d12cc53b16a96e85d596ebc887b5a93458f3f6bc",
    "xml.dom.xmlbuilder": "d4f33a8f018755626b64557953a91c6bba21ff613da46f7558a2874aa5d08ebf",
    "xml.sax.saxutils": "3fe2cdb6386e0c4d42d37c657bbecb78b69c57aedb1610dbd8bf4043944130ab",
    "xml.dom.pulldom": "614b88673d496a360e6b10efe8d733c7c0826fb214470ff12f24a1e597699870",
    "multiprocessing.heap": "f6bb79bb99b9ae484935f0d68822e9603a1622dd0b6c4966c79db232a93ba614",
    "email.contentmanager": "2d81026aef17e4786b15d9ec0629304987e3f275a0fd0a421a81b4ed87234b2c",
    "email.quoprimime": "77b454bd3ba3b5e3776be28ae3a0fd8de5d1e50d5b8ee10dd539c37c2bd68082",
    "urllib.robotparser": "389b811835f9a3ba72b192c3487b0266fa31f6e571b7a83ceb2a34792dc0d9fc",
    "email._encoded_words": "4178321600c0a19ca04cfe8542ce44487f339d15d89a473b58cea63c0b230217",
    "wsgiref.headers": "0fbf95a47d8e4c0d831fd52312ec43076cbf503c190269876f170a5cf5585fb9",
    "multiprocessing.sharedctypes": "77ef522912474652490b7df523112858e51721e63dcf109b8567a35ce9b31b0d",
    "_py_abc": "f9c6fe3dd9b51bd7d93f867356e9d362600c924febfd903ee1c6e298860dca92",
    "_weakrefset": "91895a451d06e9f521a1171b31b9b19bc9740f35af00d4fa106338ab7167c9ac",
    "_compression": "3ad5d60627477a60939ee44fc1bb3a05dbe8fb52f0f75039b8f5d8f1a278b981",
    "zoneinfo._common": "67deaf0ba41aa4865e007297677207485a89b75629eea0ee5c472be8a3e83bf6",
    "__future__": "981d4c398849f9ebcab72300d9c1fe288fd6d7f28957b3b3fa3a493a5836d95c",
    "asyncio.windows_utils": "e6fcffefa2521666bc2aed0f5caf8e862c1c1014ad12d2ab5fbce09c2df9c6f0",
    "string": "24aeae1f0526250f442022022bf98df9a823b1cb330543ee79e70e44907462e9",
    "pyclbr": "e8ca09333701ba41244e20b8c2c37b7ed0499b88c4b2ca82cac51ef89ca9e647",
    "_threading_local": "e1bf3dae66d0bfa63c8bb8a1d10c611203c35c636f7f5191fd56105788ef29cb",
    "unittest.util": "fdcc640c3505d16deab9c32eae7c3f5f67c3b5e81c563dc6698fa7fcf403854d",
    "tomllib._parser": "4579b04a7566452304781ccce37d3ebc1c36e810b058bdb1f33c0e51ddab0397",
    "graphlib": "7bd338c5a475d1101064603d3baa5507446d3c5e73f741f6d6e77c6204c1eb65",
    "_markupbase": "cb14dd6f2e2439eb70b806cd49d19911363d424c2b6b9f4b73c9c08022d47030",
    "multiprocessing.reduction": "4999f8b9ae7b3e8a7f5de302612b4131498dc2e238a2c47f894905c1c63294fe",
    "asyncio.protocols": "1d1b49988c338b4ef06e30f9e92d9db2e00080c341f0a3f573bb8312deb8aff6",
}
LIBRARY = Path(sysconfig.get_path("stdlib"))


def source(module: str, library: Path = LIBRARY) -> bytes:
    """The module's text as it is here. ValueError if it is another one than was pinned."""
    file = library.joinpath(*module.split(".")).with_suffix(".py")
    text = file.read_bytes() if file.is_file() else b""
    found = hashlib.sha256(text).hexdigest()
    if found != DIGESTS[module]:
        raise ValueError(
            f"the text of module {module} has sha256 {found}, want {DIGESTS[module]}: that of Python"
            " 3.11.2, 3.11.7, 3.12.1 and 3.13.0"
        )
    return text


@functools.cache
def text(modules: Sequence[str]) -> bytes:
    """The modules' texts one after another."""
    return b"".join(source(module) for module in modules)


def draw(generator: "torch.Generator", count: int, length: int, *, modules: Sequence[str]) -> Batch:
    """Windows of ``length`` bytes; the label is the byte after, classes are the bytes."""
    import torch

    whole = torch.frombuffer(bytearray(text(modules)), dtype=torch.uint8).long()
    starts = torch.randint(len(whole) - length, (count, 1), generator=generator)
    window = whole[starts + torch.arange(length + 1)]
    tokens, labels = window[:, :-1].contiguous(), window[:, 1:].contiguous()
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    return Batch(tokens=tokens, labels=labels, learned=everywhere, scored=everywhere)


@functools.cache
def counts(order: int) -> tuple[Counter[bytes], Counter[bytes], Counter[bytes]]:
    """Of the trained text: runs of ``order`` bytes, what they begin with, and how many differ there."""
    whole = text(TRAINED)
    runs = Counter(whole[i : i + order] for i in range(len(whole) - order + 1))
    begun, different = Counter[bytes](), Counter[bytes]()
    for run, times in runs.items():
        begun[run[:-1]] += times
        different[run[:-1]] += 1
    return runs, begun, different


@functools.cache
def likelihood(run: bytes) -> float:
    """p(last byte | those before), counted: each order's share goes to the next by Witten and Bell.

    I. H. Witten and T. C. Bell, IEEE Trans. Inf. Theory 37(4), 1991, doi:10.1109/18.87000, method C.
    """
    if not run:
        return 1 / BYTES
    runs, begun, different = counts(len(run))
    shorter = likelihood(run[1:])
    before = run[:-1]
    if before not in begun:
        return shorter
    return (runs[run] + different[before] * shorter) / (begun[before] + different[before])


def counted(batch: Batch, generator: "torch.Generator", *, order: int) -> "Float[Tensor, 'B T']":
    """Loss of the counting predictor that knows ``order`` bytes, the predicted one included, in nat."""
    import torch

    rows = torch.cat([batch.tokens, batch.labels[:, -1:]], dim=1).to(torch.uint8).numpy()
    losses = [
        [likelihood(row[max(0, t + 2 - order) : t + 2]) for t in range(len(row) - 1)]
        for row in map(bytes, rows)
    ]
    return -torch.tensor(losses, dtype=torch.float64).log()


SETTINGS = (
    Task(
        name="language_modelling-T64",
        says="Predict the next byte of Python's standard library; perplexity on modules held out.",
        draw=functools.partial(draw, modules=TRAINED),
        draws={
            "check": functools.partial(draw, modules=CHOOSING),
            "test": functools.partial(draw, modules=SCORED),
        },
        strategies={
            "bytes": functools.partial(counted, order=1),
            "pairs": functools.partial(counted, order=2),
        },
        metric="perplexity",
        # perplexities of ``counted`` pairs and runs of ``ORDER`` bytes, which a test repeats
        floor=12.52,
        best=7.97,
        vocabulary=BYTES,
        classes=BYTES,
        length=64,
        test_length=128,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=16,
        tokens=450 * 16 * 64,
        must_pass=("mixers.gated_deltanet",),
    ),
)
