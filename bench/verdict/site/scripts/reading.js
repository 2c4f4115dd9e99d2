"use strict";
/* What the words, rules and metrics mean. */
(function (site) {
  const { data, el, state, table, show } = site;
  const SAYS = {
    confirmed:
      "the whole 99% interval lies inside the bounds, in every case measured on some machine",
    refuted: "the whole interval of some case lies outside the bounds",
    inconclusive: "an interval lies on both sides of a bound",
    broken: "a contestant fails its contract, so it has no figures",
    untested: "nothing that the claim speaks about has been measured",
  };

  function reading() {
    show(
      "How to read",
      el("h1", {}, "How to read this"),
      el("h2", {}, "States of a claim"),
      table(
        ["state", "meaning"],
        site.STATES.map((name) => [[state(name)], SAYS[name]]),
      ),
      el("h2", {}, "Rules behind the verdicts"),
      table(
        ["rule", "applies when"],
        Object.entries(data.rules).map(([name, says]) => [el("code", {}, name), says]),
      ),
      el("h2", {}, "Metrics"),
      table(
        ["metric", "unit", "come by", "better", "what it is"],
        Object.entries(data.metrics).map(([name, metric]) => [
          el("code", {}, name),
          metric.unit,
          metric.way + (metric.modelled ? " (modelled)" : ""),
          metric.higher_is_better ? "higher" : "lower",
          metric.says,
        ]),
      ),
      el("h2", {}, "Plots"),
      el(
        "p",
        {},
        "A plugin has one colour and one marker on every page. Bars are 99% intervals. Dotted lines are bounds that ",
        "were computed, never measured; a table of the same figures opens below each plot.",
      ),
    );
  }
  site.pages.reading = reading;
})(window.site);
