"""Every metric of the suite: unit, direction, how it is come by and what it says. No torch."""

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a figure is come by; measured and modelled figures never share a column."""

    CLOCK = "clock"
    """Samples of a clock, interleaved with the other contestants of the group."""
    COUNTER = "counter"
    """Read off the device: a DRAM counter, an energy counter, the allocator."""
    TRACE = "trace"
    """Modelled: counted while the call ran on CPU tensors."""
    COMPILE = "compile"
    """Modelled: read off the binary compiled for a card, which need not be here."""
    COMPARISON = "comparison"
    """Exact: the outputs held against the float64 reference."""
    DEFINITION = "definition"
    """Exact: follows from the op, its sizes and its dtype, whichever implementation is asked."""
    TRAINING = "training"
    """Samples of trained models, one a seed."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure: ``name`` in claims, ``track_<name>`` for asv, a column on the page."""

    name: str
    unit: str
    way: Way
    says: str
    higher_is_better: bool = False
    gates: bool = True
    """Whether a regression in it counts; a figure derived from a gating one only shows."""
    aside: bool = False
    """Whether it is of the machine, of another function or of the setting, hence no figure of a contestant."""

    @property
    def modelled(self) -> bool:
        """True when the figure comes from a trace or a compile, not from a clock or a counter."""
        return self.way in (Way.TRACE, Way.COMPILE)

    @property
    def exact(self) -> bool:
        """True when a repetition gives the same figure, so that one sample is its interval."""
        return self.way in (Way.TRACE, Way.COMPILE, Way.COMPARISON, Way.DEFINITION)


_ALL = (
    Metric(name="time", unit="us", way=Way.CLOCK, says="One call, inputs on the device"),
    Metric(
        name="train_time",
        unit="us",
        way=Way.CLOCK,
        says="One call and the gradient of every input and weight",
    ),
    Metric(
        name="us_per_token", unit="us", way=Way.CLOCK, says="Time over B T; regressions gate on it"
    ),
    Metric(
        name="tokens_per_s",
        unit="1/s",
        way=Way.CLOCK,
        says="B T over time; shown, never gated on",
        higher_is_better=True,
        gates=False,
    ),
    Metric(
        name="traffic",
        unit="bytes",
        way=Way.TRACE,
        says="Distinct bytes each launch reads and writes: a cache perfect within, empty between",
    ),
    Metric(
        name="traffic_ratio",
        unit="x",
        way=Way.TRACE,
        says="Traffic over every input read once and every output written once",
    ),
    Metric(
        name="compulsory",
        unit="bytes",
        way=Way.DEFINITION,
        says="Every input read once and every output written once",
        gates=False,
    ),
    Metric(
        name="dram_traffic",
        unit="bytes",
        way=Way.COUNTER,
        says="Bytes that crossed the DRAM interface, by the card's own counters (ncu)",
    ),
    Metric(
        name="train_traffic",
        unit="bytes",
        way=Way.TRACE,
        says="Traffic of one call and the gradient of every input",
    ),
    Metric(
        name="backward_traffic_ratio",
        unit="x",
        way=Way.TRACE,
        says="What gradients add to the traffic, over inputs and their gradients each moved once",
    ),
    Metric(name="launches", unit="count", way=Way.TRACE, says="Kernels and eager ops of one call"),
    Metric(name="gemms", unit="count", way=Way.TRACE, says="Matrix products of one call"),
    Metric(name="flops", unit="flop", way=Way.TRACE, says="Multiplies and adds of matrix products"),
    Metric(
        name="live_bytes",
        unit="bytes",
        way=Way.TRACE,
        says="Most bytes allocated at once beyond the inputs, by the meter of eager ops",
    ),
    Metric(
        name="peak_memory",
        unit="bytes",
        way=Way.COUNTER,
        says="Most bytes allocated at once beyond the inputs, by the GPU's allocator",
    ),
    Metric(
        name="error",
        unit="rel",
        way=Way.COMPARISON,
        says="Root mean square of output minus float64 reference, over the reference's",
    ),
    Metric(
        name="contract", unit="count", way=Way.COMPARISON, says="Checks of the contract that fail"
    ),
    Metric(name="energy", unit="J", way=Way.COUNTER, says="Joules a token, by the card's counter"),
    Metric(name="registers", unit="count", way=Way.COMPILE, says="Registers a thread"),
    Metric(name="spills", unit="bytes", way=Way.COMPILE, says="Bytes spilled a thread"),
    Metric(
        name="shared",
        unit="bytes",
        way=Way.COMPILE,
        says="Shared bytes a block, static and dynamic",
    ),
    Metric(
        name="plain_products",
        unit="count",
        way=Way.COMPILE,
        says="Kernels with a product in which the card's own matrix instruction does not occur",
    ),
    Metric(
        name="older_products",
        unit="count",
        way=Way.COMPILE,
        says="Products that another instruction than the card's own computes",
    ),
    Metric(
        name="train_spills",
        unit="bytes",
        way=Way.COMPILE,
        says="Bytes spilled a thread, by the kernels of the backward pass too",
    ),
    Metric(
        name="train_plain_products",
        unit="count",
        way=Way.COMPILE,
        says="Kernels with a product and none of the card's own, those of the backward pass too",
    ),
    Metric(
        name="train_older_products",
        unit="count",
        way=Way.COMPILE,
        says="Products that another instruction than the card's own computes, backward pass included",
    ),
    Metric(
        name="mma",
        unit="count",
        way=Way.COMPILE,
        says="Matrix instructions in the binary",
        gates=False,
    ),
    Metric(
        name="accuracy",
        unit="fraction",
        way=Way.TRAINING,
        says="Score of a task at a fixed budget, one sample a seed",
        higher_is_better=True,
    ),
    Metric(
        name="accuracy_trained",
        unit="fraction",
        way=Way.TRAINING,
        says="The same at the trained length, where a recurrence may score without tracking",
        higher_is_better=True,
        gates=False,
    ),
    Metric(
        name="tokens_to_threshold",
        unit="tokens",
        way=Way.TRAINING,
        says="Training tokens until the score passed the task's threshold",
    ),
    Metric(
        name="perplexity", unit="x", way=Way.TRAINING, says="exp of the loss a token, held-out text"
    ),
    Metric(
        name="excess_loss",
        unit="nat",
        way=Way.TRAINING,
        says="Loss a token less that of the exact predictor, on fresh sequences",
    ),
    Metric(
        name="nmse",
        unit="x",
        way=Way.TRAINING,
        says="Squared error of a signal over that of predicting zero, on fresh sequences",
    ),
    Metric(name="loss", unit="nat", way=Way.TRAINING, says="Training loss at the end"),
    Metric(
        name="largest_rate",
        unit="1",
        way=Way.TRAINING,
        says="Largest learning rate at which a short run still learns, one a seed",
        higher_is_better=True,
        gates=False,
    ),
    Metric(
        name="rival_time",
        unit="us",
        way=Way.CLOCK,
        says="One call of another function at the same sizes, in the rounds of the op",
        gates=False,
        aside=True,
    ),
    Metric(
        name="setting",
        unit="code",
        way=Way.DEFINITION,
        says="Digest of the knobs that were not left as the code has them",
        gates=False,
        aside=True,
    ),
    Metric(
        name="copy_bandwidth",
        unit="bytes/s",
        way=Way.CLOCK,
        says="A copy on this machine: bytes read and bytes written over its time",
        higher_is_better=True,
        gates=False,
        aside=True,
    ),
    Metric(
        name="product_rate",
        unit="flop/s",
        way=Way.CLOCK,
        says="A matrix product on this machine: multiplies and adds over its time",
        higher_is_better=True,
        gates=False,
        aside=True,
    ),
)

METRICS = {metric.name: metric for metric in _ALL}

KERNEL = (
    "time", "train_time", "us_per_token", "tokens_per_s", "traffic", "traffic_ratio", "launches",
    "gemms", "flops", "live_bytes", "peak_memory", "error", "contract",
    "compulsory", "train_traffic", "backward_traffic_ratio",
)  # fmt: skip
"""Metrics of an op's implementations, as ``bench/kernels.py`` tracks them."""
STATIC = ("registers", "spills", "shared", "mma", "plain_products", "older_products")
"""Metrics of a Triton plugin compiled for a card, as ``bench/static.py`` tracks them."""
STATIC_TRAINING = ("train_spills", "train_plain_products", "train_older_products")
"""The same of forward and backward pass, where a suite compiles both."""
FORWARD_TRACE = ("traffic", "traffic_ratio", "launches", "gemms", "flops", "live_bytes")
"""Of ``KERNEL``, what is traced where a suite names ``modelled_sizes``."""
TRAINING_TRACE = ("train_traffic", "backward_traffic_ratio")
"""Of ``KERNEL``, what is traced where a suite names ``trained_sizes``."""
SETTING = "setting"
"""Which of its settings a contestant was run with; a reader tells it with every figure, and alone of none."""
CEILINGS = ("copy_bandwidth", "product_rate")
"""What the machine can do at best, as ``bench/ceilings.py`` tracks it."""
RIVALS = ("rival_time",)
"""Of other functions in the rounds of an op, beside ``KERNEL`` in ``bench/kernels.py``."""


def find(name: str) -> Metric:
    """The metric called ``name``. ValueError lists them when there is none."""
    if name not in METRICS:
        raise ValueError(f"no metric is called {name!r}; there are {', '.join(METRICS)}")
    return METRICS[name]
