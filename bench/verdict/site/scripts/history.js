"use strict";
/* Figures and verdicts over commits, with the commits at which they changed. */
(function (site) {
  const {
    data,
    el,
    figure,
    united,
    ends,
    plot,
    style,
    choice,
    unique,
    plugin,
    machine,
    commit,
    day,
    state,
    table,
  } = site;
  const SAME = [
    "plugin",
    "metric",
    "sizes",
    "dtype",
    "machine",
    "kind",
    "suite",
    "software",
    "settings",
    "knobs",
  ];
  const LABELS = 12;

  const USUAL = ["us_per_token", "accuracy"];

  /* Software, the settings of a task and stored settings are named where there are several. */
  function problems(all) {
    const several = (name) => new Set(all.map((one) => one[name])).size > 1;
    return (one) =>
      [
        one.machine,
        one.kind === "cpu" ? "" : one.kind,
        one.suite,
        one.sizes,
        one.dtype,
        several("software") ? one.software : "",
        several("settings") ? one.settings.slice(0, 8) : "",
        several("knobs") ? one.knobs || "as it stands" : "",
      ]
        .filter(Boolean)
        .join(" \u00b7 ");
  }
  function changesOf(one) {
    return data.changes.filter((change) => SAME.every((name) => change[name] === one[name]));
  }
  /* By how much: a ratio in percent, a difference in the unit of the metric. */
  function size(change) {
    const unit = data.metrics[change.metric].unit;
    const sign = (value) => (value < 0 ? "\u2212" : "+");
    if (!change.difference) {
      return sign(change.size - 1) + figure(Math.abs(100 * (change.size - 1))) + "\u00a0%";
    }
    return sign(change.size) + united(Math.abs(change.size), unit);
  }
  function sizeInterval(change) {
    const [low, high] = change.interval;
    if (low === high && low !== null) {
      return "exact";
    }
    if (change.difference) {
      return ends(change.interval, data.metrics[change.metric].unit);
    }
    const percent = (end) => (end === null ? null : 100 * (end - 1));
    return ends([percent(low), percent(high)], "%");
  }
  function drawn(part, mine) {
    const at = unique(
      mine.flatMap((one) => one.points),
      ([i]) => [i],
    ).sort((a, b) => a - b);
    const spot = Object.fromEntries(at.map((i, k) => [i, k]));
    const unit = data.metrics[mine[0].metric].unit;
    const when = (i) => part.commits[i][0].slice(0, 8) + " of " + day(part.commits[i][1]);
    const traces = mine.map((one) => {
      const exact = one.points.every(([, , low, high]) => low === high);
      return {
        name: one.plugin,
        ...style(one.plugin),
        x: one.points.map(([i]) => spot[i]),
        y: one.points.map(([, value]) => value),
        low: exact ? null : one.points.map(([, , low]) => low),
        high: exact ? null : one.points.map(([, , , high]) => high),
        text: one.points.map(
          ([i, value, low, high]) =>
            one.plugin +
            "<br>" +
            when(i) +
            "<br>" +
            united(value, unit) +
            (exact ? "" : "<br>99% interval " + ends([low, high], unit)),
        ),
      };
    });
    const rows = mine.flatMap((one) =>
      one.points.map(([i, value, low, high]) => [
        plugin(one.plugin),
        [commit(part.commits[i][0]), " ", day(part.commits[i][1])],
        united(value, unit),
        ends([low, high], unit),
      ]),
    );
    const every = Math.ceil(at.length / LABELS);
    const ticks = at.map((_, k) => k).filter((k) => k % every === 0);
    const marks = mine
      .flatMap(changesOf)
      .map((one) => ({
        ...one,
        spot: spot[part.commits.findIndex(([hash]) => hash === one.commit)],
      }))
      .filter((one) => one.spot !== undefined)
      .sort((a, b) => a.spot - b.spot);
    const colour = { worse: "bad", better: "good", recovered: "faint", shown: "faint" };
    return plot({
      label:
        data.metrics[mine[0].metric].says +
        ", over " +
        at.length +
        " commits, oldest left; " +
        (data.metrics[mine[0].metric].higher_is_better ? "higher" : "lower") +
        " is better. " +
        (marks.length
          ? "A vertical line is a commit at which a figure changed."
          : "No change was found."),
      x: {
        title: "commit",
        ticks: ticks,
        texts: ticks.map((k) => part.commits[at[k]][0].slice(0, 8)),
        range: [-0.5, at.length - 0.5],
      },
      y: { title: mine[0].metric + (unit ? " (" + unit + ")" : ""), zero: true },
      traces: traces,
      lines: marks.map((one) => ({
        x: one.spot - 0.5,
        colour: colour[one.direction],
        dash: one.recovered ? "dot" : "dash",
      })),
      notes: marks.map((one, i) => ({
        x: one.spot - 0.5,
        up: 2 + 14 * (i % 3),
        colour: colour[one.direction],
        text: one.direction + " " + size(one),
      })),
      columns: ["plugin", "commit", "value", "99% interval"],
      rows: rows,
    });
  }
  /* All series of the plugins that are wanted, one metric and problem at a time. */
  function history(part, wanted, first) {
    const all = (part.series || []).filter((one) => wanted(one.plugin) && one.points.length > 1);
    if (!all.length) {
      return el(
        "p",
        { class: "lack" },
        "Measured at one commit only, so there is no history to draw; ",
        el("code", {}, "madbench run --suite smoke --commit REV"),
        " measures another.",
      );
    }
    const changed = (one) => changesOf(one).length;
    const metrics = Object.keys(data.metrics).filter((name) =>
      all.some((one) => one.metric === name),
    );
    const problem = problems(all);
    const asked = (names) => (one) => names.includes(one.metric);
    const start =
      all.filter(asked(first || [])).find(changed) ||
      all.find(changed) ||
      all.find(asked(first || [])) ||
      all.find(asked(USUAL)) ||
      all[0];
    const now = { metric: start.metric, problem: problem(start) };
    const head = el("div", { class: "filters" }),
      place = el("div", {});
    function draw() {
      const here = all.filter((one) => one.metric === now.metric);
      const named = unique(here, (one) => [problem(one)]);
      if (!named.includes(now.problem)) {
        now.problem = named[0];
      }
      const mark = (hit, text) => text + (hit ? " \u25c6" : "");
      const pick = (name) => (value) => {
        now[name] = value;
        draw();
      };
      site.replace(
        head,
        choice(
          "metric",
          "metric (\u25c6 changed)",
          metrics.map((name) => [
            name,
            mark(
              all.some((one) => one.metric === name && changed(one)),
              name,
            ),
          ]),
          now.metric,
          pick("metric"),
        ),
        choice(
          "problem",
          "problem (\u25c6 changed)",
          named.map((name) => [
            name,
            mark(
              here.some((one) => problem(one) === name && changed(one)),
              name,
            ),
          ]),
          now.problem,
          pick("problem"),
        ),
      );
      const mine = here.filter((one) => problem(one) === now.problem);
      site.replace(place, drawn(part, mine), changeTable(mine.flatMap(changesOf)));
    }
    draw();
    return [head, place];
  }
  function changeTable(changes) {
    if (!changes.length) {
      return null;
    }
    const columns = [
      "change",
      "of",
      "by",
      "99% interval",
      "from",
      "to",
      "at commit",
      "last before",
      "came back",
      "problem",
    ];
    return table(
      columns,
      changes.map((one) => {
        const unit = data.metrics[one.metric].unit;
        return [
          [state(one.direction)],
          [plugin(one.plugin), " ", el("span", { class: "ends" }, one.metric)],
          size(one),
          sizeInterval(one),
          united(one.before, unit),
          united(one.after, unit),
          [commit(one.commit), " ", day(one.committed)],
          one.last ? commit(one.last) : "",
          one.recovered ? commit(one.recovered) : "",
          [
            machine(one.machine),
            el(
              "span",
              { class: "ends" },
              [one.kind === "cpu" ? "" : one.kind, one.suite, one.sizes, one.dtype]
                .filter(Boolean)
                .join(" "),
            ),
          ],
        ];
      }),
      "cards changes",
    );
  }
  function turns(list) {
    if (!list || !list.length) {
      return null;
    }
    return table(
      ["verdict", "since commit", "date", "rule"],
      list
        .slice()
        .reverse()
        .map((one) => [
          [state(one.verdict)],
          commit(one.commit),
          day(one.committed),
          el("code", {}, one.rule),
        ]),
    );
  }

  Object.assign(site, { history, changeTable, turns });
})(window.site);
