"use strict";
/* One plugin: contract, proposals, plots of what was measured of it, history, source, reruns. */
(function (site) {
  const {
    data,
    el,
    link,
    state,
    base,
    facts,
    commands,
    details,
    said,
    show,
    title,
    withParts,
    subject,
  } = site;
  const EXAMPLES = 3;

  function onePlugin(id) {
    const one = data.plugins[id];
    if (!one) {
      return site.missing();
    }
    const used = data.proposals.filter((each) => each.plugins.map(base).includes(id));
    const names = Object.keys(data.subjects).filter((name) =>
      data.subjects[name].plugins.some((each) => base(each) === id),
    );
    return show(
      id,
      el("h1", {}, id),
      el("pre", { class: "wrap" }, one.about),
      facts([
        ["contract", site.contract(one)],
        [one.op ? "computes" : "kind", one.op ? subject(one.op) : one.kind],
        ["published in", one.source],
        ["runs on", one.backend],
        ["needs", one.needs.join(", ")],
        ["accepts", said(one.accepts)],
        ["knobs", said(one.knobs)],
        [
          "excused",
          Object.entries(one.excuses).map(([name, why]) =>
            el("div", {}, el("code", {}, name), ": " + why),
          ),
        ],
        [
          "proposals",
          used.map((each) =>
            el(
              "div",
              {},
              link("proposal/" + each.id, each.id + " " + title(each)),
              " ",
              state(each.verdict),
            ),
          ),
        ],
        ["file", el("code", {}, one.file + ":" + one.line)],
      ]),
      withParts(
        names.map((name) => "subject/" + name),
        (...parts) => [
          parts.map((part, i) => measured(id, names[i], part)),
          el("h2", {}, "Run it again"),
          commands(["madbench check " + id, ...examples(id, parts)]),
        ],
      ),
      el("h2", {}, "Source"),
      el("p", { class: "faint" }, "As it stood when the site was built."),
      withParts(["source/" + one.file], (text) => (text ? source(one, text) : null)),
    );
  }

  function measured(id, name, part) {
    const mine = (other) => base(other) === id;
    const beside = data.baselines[name] || [];
    const shown = (other) => mine(other) || beside.includes(other);
    const lengths = part.tables.some(
      (each) => each.sizes !== name && each.rows.some((row) => mine(row.plugin)),
    );
    const drawn = lengths
      ? site.growth(part.tables, shown, id)
      : site.curves(part.curves, mine) || site.noCurves(training(name, part));
    return el(
      "section",
      { "data-subject": name },
      el("h2", {}, "On ", subject(name)),
      lengths && beside.some((other) => !mine(other))
        ? el(
            "p",
            { class: "faint" },
            "Beside ",
            site.commas(beside.filter((other) => !mine(other)).map(site.plugin)),
            ", which suites show the others against. ",
            link("figures/" + encodeURIComponent(name), "All contestants"),
          )
        : null,
      drawn,
      el("h3", {}, "History"),
      site.history(part, mine),
    );
  }
  function training(name, part) {
    return site.unique(part.tables, (one) => [
      "python -m bench.lab.tryout " + one.suite + " " + name,
    ]);
  }
  function examples(id, parts) {
    const lines = [];
    parts.forEach((part) =>
      part.tables.forEach((each) =>
        each.rows.forEach((row) => {
          const metric = row.figures.time ? "time" : row.figures.traffic ? "traffic" : null;
          if (base(row.plugin) === id && metric && lines.length < EXAMPLES) {
            lines.push(
              "madbench measure " +
                row.plugin +
                " --metric " +
                metric +
                " --sizes " +
                each.sizes +
                " --dtype " +
                each.dtype +
                " --machine " +
                each.kind,
            );
          }
        }),
      ),
    );
    return lines;
  }
  /* Line numbers are drawn by the style sheet, so that copied text has none. */
  function source(one, text) {
    const lines = text
      .replace(/\n$/, "")
      .split("\n")
      .map((line, i) =>
        el("span", { class: i + 1 === one.line ? "line here" : "line" }, line + "\n"),
      );
    return details(
      one.file + ", " + lines.length + " lines, the plugin at line " + one.line,
      el("pre", { class: "source" }, lines),
    );
  }

  site.pages.plugin = onePlugin;
})(window.site);
