"use strict";
/* How often the pull-request gate errs on a machine, as `madbench calibrate` found it. */
(function (site) {
  const { el, figure, table, plugin, commit, details } = site;

  function share(value) {
    return value === null || value === undefined ? "" : figure(100 * value) + "\u00a0%";
  }
  function rate(count, of, one) {
    if (!of) {
      return "no trial yet";
    }
    return [
      share(count / of),
      el(
        "span",
        { class: "ends" },
        count +
          " of " +
          of +
          (one ? ", 95% interval " + share(one.low) + " to " + share(one.high) : ""),
      ),
    ];
  }
  function again(one, name) {
    return one.draws ? share(one[name] / one.draws) : "";
  }

  function calibration(rows) {
    if (!rows.length) {
      return el(
        "p",
        { class: "lack" },
        "How often the gate errs here is not known; ",
        el("code", {}, "madbench calibrate"),
        " measures it.",
      );
    }
    return [
      once(rows[0]),
      rows.length > 1
        ? details(site.count(rows.length - 1, "older calibration"), rows.slice(1).map(once))
        : null,
    ];
  }
  function once(row) {
    const { unchanged, planted, exact, settings } = row;
    return el(
      "section",
      {},
      el(
        "p",
        { class: "faint" },
        "Measured at commit ",
        commit(row.commit),
        " on " +
          new Date(row.measured).toISOString().slice(0, 10) +
          ", " +
          row.rounds +
          " rounds, " +
          settings.rounds +
          " a trial, margin " +
          share(settings.margin) +
          ". Rates with an interval are trials, which share no round; drawn again: what the " +
          "gate says of those rounds in other combinations, never counted as trials.",
      ),
      table(
        [
          "planted",
          "on",
          "measured change",
          "called a regression",
          "could not tell",
          "drawn again",
        ],
        [
          [
            "nothing: false positives",
            "all",
            "",
            rate(unchanged.regressions, unchanged.trials, unchanged),
            rate(unchanged.unclear, unchanged.trials),
            again(unchanged.again, "regressions"),
          ],
          ...planted.map((one) => [
            one.name + (one.share === null ? "" : " of " + share(one.share)),
            plugin(one.plugin),
            change(one.change),
            rate(one.found, one.trials, one),
            rate(one.unclear, one.trials),
            again(one.again, "regressions"),
          ]),
          ...counted(exact),
        ],
      ),
    );
  }
  function change([value, low, high]) {
    const percent = (one) =>
      one === null
        ? "unbounded"
        : (one < 1 ? "\u2212" : "+") + figure(Math.abs(100 * (one - 1))) + "\u00a0%";
    return [percent(value), el("span", { class: "ends" }, percent(low) + " to " + percent(high))];
  }
  function counted(exact) {
    if (!exact) {
      return [];
    }
    return [
      [
        "nothing, counted without a clock",
        "all",
        "",
        rate(exact.unchanged.regressions, exact.unchanged.trials),
        "",
        "",
      ],
      [
        "an extra copy, counted without a clock",
        "all",
        "",
        rate(exact.copies.found, exact.copies.trials),
        "",
        "",
      ],
    ];
  }

  Object.assign(site, { calibration });
})(window.site);
