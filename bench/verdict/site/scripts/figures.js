"use strict";
/* Contestants of an op, a layer or a task side by side. */
(function (site) {
  const {
    data,
    el,
    link,
    state,
    base,
    plugin,
    machine,
    commit,
    day,
    figure,
    ends,
    table,
    list,
    details,
    commas,
    show,
    withParts,
  } = site;

  function figures(subject) {
    const names = Object.keys(data.subjects).sort();
    if (!subject) {
      return overview(names);
    }
    if (!names.includes(subject)) {
      return show(
        subject,
        el("h1", {}, subject),
        el(
          "p",
          {},
          "Nothing has been measured yet: ",
          el("code", {}, "madbench run --suite smoke"),
          " begins.",
        ),
      );
    }
    const all = () => true;
    return show(
      subject,
      el("p", {}, link("figures", "\u2190 all ops and tasks")),
      el("h1", {}, subject),
      withParts(["subject/" + subject], (part) => {
        const task = part.tables.every((one) => one.sizes === subject);
        return [
          part.tables.map(side),
          el("h2", {}, task ? "Learning curves" : "Growth with T"),
          task
            ? site.curves(part.curves, all) || site.noCurves(training(subject, part))
            : site.growth(part.tables, all),
          el("h2", {}, "History"),
          site.history(part, all),
        ];
      }),
    );
  }
  function training(subject, part) {
    return site.unique(part.tables, (one) => [
      "python -m bench.lab.tryout " + one.suite + " " + subject,
    ]);
  }
  function overview(names) {
    return show(
      "Side by side",
      el("h1", {}, "Side by side"),
      el(
        "p",
        {},
        "Every contestant of an op or task at the newest commit at which it was measured. Modelled and ",
        "measured figures stand in columns of their own; what fails its contract has none.",
      ),
      names.length
        ? table(
            ["op or task", "contestants", "problems", "machines"],
            names.map((name) => {
              const one = data.subjects[name];
              return [
                site.subject(name),
                one.plugins.length,
                one.problems,
                commas(one.machines.map(machine)),
              ];
            }),
          )
        : el("p", {}, "Nothing has been measured yet: run ", el("code", {}, "make bench"), "."),
    );
  }

  function side(one) {
    const groups = [
      ["measured", measured],
      ["modelled", (metric) => metric.modelled],
      ["by definition", defined],
    ]
      .map(([name, fits]) => [name, one.columns.filter((column) => fits(data.metrics[column]))])
      .filter(([, columns]) => columns.length);
    const columns = groups.flatMap(([, names]) => names);
    const edge = (name) => (groups.some(([, names]) => names[0] === name) ? " first" : "");
    const heads = [
      el(
        "tr",
        {},
        el("th", { colspan: 2 }),
        groups.map(([name, names]) =>
          el("th", { class: "group", colspan: names.length, scope: "colgroup" }, name),
        ),
      ),
      el(
        "tr",
        {},
        el("th", {}, "plugin"),
        el("th", {}, "contract"),
        columns.map((name) =>
          el(
            "th",
            { class: "figure" + edge(name), title: data.metrics[name].says, scope: "col" },
            name,
            el("br"),
            data.metrics[name].unit,
          ),
        ),
      ),
    ];
    const rows = one.rows.map((row) => {
      const shown = columns.map((name) =>
        el("td", { class: "figure" + edge(name) }, cell(row.figures[name], name)),
      );
      const none = !Object.keys(row.figures).length && columns.length;
      return el(
        "tr",
        { "data-plugin": row.plugin, "data-contract": row.contract },
        el("td", {}, plugin(row.plugin)),
        el("td", {}, state(row.contract)),
        none ? el("td", { class: "first", colspan: columns.length }, outcome(row)) : shown,
      );
    });
    return el(
      "section",
      {},
      el("h2", {}, one.sizes === one.subject ? "" : one.sizes + " ", one.dtype),
      el(
        "p",
        { class: "faint" },
        "on ",
        machine(one.machine),
        one.kind === "cpu" ? "" : " for " + one.kind,
        ", suite " + one.suite + ", commit ",
        commit(one.commit),
        " of " + day(one.committed) + "; below a figure its 99% interval, none below an exact one",
      ),
      el(
        "div",
        { class: "scroll" },
        el("table", { class: "side" }, el("thead", {}, heads), el("tbody", {}, rows)),
      ),
      notes(one),
    );
  }
  function defined(metric) {
    return metric.way === "definition";
  }
  function measured(metric) {
    return !metric.modelled && !defined(metric);
  }
  function cell(one, name) {
    if (!one) {
      return null;
    }
    const interval = data.metrics[name].exact
      ? null
      : el("span", { class: "ends" }, ends(one.interval, ""));
    return el("span", { title: site.count(one.samples, "sample") }, figure(one.value), interval);
  }
  function outcome(row) {
    const first = row.reasons[0];
    if (row.contract === "wrong") {
      return "fails its contract: no figures" + (first && first.reason ? ". " + first.reason : "");
    }
    return first
      ? first.outcome + ": " + first.reason
      : "its contract was not run here: no figures";
  }
  function notes(one) {
    const lines = one.rows.flatMap((row) => {
      const excuses = (data.plugins[base(row.plugin)] || { excuses: {} }).excuses;
      const excused = Object.entries(excuses).map(([name, why]) => [
        el("code", {}, row.plugin),
        " is excused from ",
        el("code", {}, name),
        ": " + why,
      ]);
      const lacking = Object.keys(row.figures).length
        ? row.reasons.map((each) => [
            el("code", {}, row.plugin),
            " has no " +
              (each.metric || "figure") +
              ": " +
              each.outcome +
              (each.reason ? ", " + each.reason : ""),
          ])
        : [];
      return excused.concat(lacking);
    });
    return lines.length
      ? details("Excuses and missing figures (" + lines.length + ")", list(lines))
      : null;
  }

  site.pages.figures = figures;
})(window.site);
