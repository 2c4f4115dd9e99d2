"use strict";
/* One proposal: its verdict and how it came about, its claims, its contestants, and reruns. */
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
    united,
    ends,
    bounds,
    table,
    facts,
    list,
    commands,
    said,
    show,
    title,
    since,
    reproduced,
    withParts,
  } = site;
  const SHOWN = 4;

  function proposal(id) {
    const one = data.proposals.find((each) => each.id === id);
    if (!one) {
      return site.missing();
    }
    const turn = since(one);
    return show(
      one.id + " " + title(one),
      el("p", {}, link("verdicts", "\u2190 all proposals")),
      el("h1", {}, one.id, " ", title(one)),
      facts([
        [
          "verdict",
          [
            state(one.verdict),
            turn ? [" since ", commit(turn.commit), " of " + day(turn.committed)] : null,
          ],
        ],
        [
          "rule",
          [
            el("code", {}, one.rule),
            " ",
            el("span", { class: "faint" }, data.rules[one.rule.split(":")[0]]),
          ],
        ],
        [
          "missing",
          one.claims_file ? one.missing.map(lack) : site.NO_PLUGIN + ": no claims file names one",
        ],
        ["family", one.family],
        ["reported before", one.status],
        ["reproduced", reproduced(one)],
        ["priority then", one.priority],
      ]),
      one.hypothesis ? [el("h2", {}, "Hypothesis"), el("p", {}, one.hypothesis)] : null,
      one.claims.length ? [el("h2", {}, "Claims"), one.claims.map(claim)] : null,
      one.plugins.length ? [el("h2", {}, "Plugins"), contestants(one.plugins)] : null,
      one.plugins.some((id) => data.transitions.mixers.includes(id))
        ? el(
            "p",
            {},
            "How they do beside every other transition: ",
            link("transitions/" + one.id, "the head-to-head"),
            ".",
          )
        : null,
      one.plugins.length ? measured(one) : null,
      el("h2", {}, "Run it again"),
      commands(
        [(one.claims_file ? "madbench judge " : "madbench show ") + one.id]
          .concat(one.rerun, ...one.claims.map((each) => each.rerun))
          .filter((line, i, all) => all.indexOf(line) === i),
      ),
      one.reported
        ? [el("h2", {}, "What was reported before, measured by others"), reports(one.reported)]
        : null,
      ["contradictions", "lessons", "notes"].map((name) =>
        one[name]
          ? [
              el(
                "h2",
                {},
                name[0].toUpperCase() +
                  name.slice(1) +
                  (name === "notes" ? "" : " in those reports"),
              ),
              list(one[name]),
            ]
          : null,
      ),
    );
  }
  function lack(one) {
    const where = one.machine ? " on " + one.machine.join(", ") : "";
    const how = one.suite
      ? "; suite " +
        one.suite +
        " measures it" +
        (one.seconds ? ", at least " + Math.ceil(one.seconds) + "\u00a0s" : "")
      : "; no suite measures it yet";
    return el("div", {}, el("code", {}, one.claim), where + ": " + one.reason + how);
  }

  function wanted(claim) {
    const sign = claim.comparison === "ratio" ? " / " : " \u2212 ";
    const who = claim.against
      ? [plugin(claim.plugin), sign, plugin(claim.against)]
      : [plugin(claim.plugin)];
    return [
      claim.metric,
      " of ",
      who,
      claim.over ? ", growth with " + claim.over : "",
      ": ",
      bounds(claim),
    ];
  }
  function claim(one) {
    const first = one.state !== "broken" && one.evidence[0];
    const interval = first && ends(first.interval, one.unit);
    const value = first
      ? [
          united(first.value, one.unit),
          interval === "exact" ? " (exact)" : " (99% interval " + interval + ")",
        ]
      : null;
    return el(
      "section",
      { class: "claim", "data-claim": one.id },
      el("h3", {}, one.says),
      facts([
        [
          "state",
          [
            state(one.state),
            one.role === "background"
              ? ": background, decides nothing"
              : ": " + one.role + " claim",
          ],
        ],
        [(one.modelled ? "modelled " : "measured ") + one.comparison, value],
        ["judged", wanted(one)],
        ["scope", said(one.where) || "every problem, every machine"],
        ["broken", one.broken],
        ["stopped holding", one.stopped ? ["at ", commit(one.stopped)] : null],
        ["source", one.source],
      ]),
      first ? [site.intervals(one, one.evidence.slice(0, SHOWN)), evidence(one)] : null,
      one.reported.length ? [el("h3", {}, "Reported before"), reports(one.reported)] : null,
      one.rerun.length ? site.details("Run it again", commands(one.rerun)) : null,
    );
  }
  function evidence(one) {
    const columns = ["case", "value", "99% interval", "bound", "machine", "problem", "commit"];
    const rows = one.evidence.map((each) => [
      [state(each.state)],
      united(each.value, one.unit),
      ends(each.interval, one.unit),
      bounds(one),
      [machine(each.machine), each.kind === "cpu" ? "" : " (" + each.kind + ")"],
      el("code", {}, (each.sizes + " " + each.dtype).trim()),
      [commit(each.commit), " ", day(each.committed)],
    ]);
    const rest = one.evidence.slice(SHOWN);
    return [
      table(columns, rows.slice(0, SHOWN)),
      rest.length
        ? site.details(
            site.count(rest.length, "more case"),
            site.intervals(one, rest),
            table(columns, rows.slice(SHOWN)),
          )
        : null,
    ];
  }
  function reports(rows) {
    const columns = ["entry", "metric", "value", "unit", "setting", "outcome"].filter((name) =>
      rows.some((row) => row[name] !== undefined),
    );
    return table(
      columns,
      rows.map((row) =>
        columns.map((name) => {
          const value = row[name];
          return value === undefined ? "" : typeof value === "number" ? String(value) : said(value);
        }),
      ),
    );
  }
  function contestants(ids) {
    return table(
      ["plugin", "contract", "computes", "what it is"],
      ids.map((id) => {
        const one = data.plugins[base(id)];
        return one
          ? [
              plugin(id),
              contract(one),
              one.op ? site.subject(one.op) : one.kind,
              one.about.split("\n")[0],
            ]
          : [el("code", {}, id), "", "", "not in this tree"];
      }),
    );
  }
  function contract(one) {
    if (!one.contract.length) {
      return state("not run");
    }
    return one.contract.map((each) =>
      el(
        "div",
        {},
        state(each.outcome),
        " on ",
        machine(each.machine),
        " at ",
        commit(each.commit),
        " of " + day(each.committed),
        each.reason ? el("span", { class: "ends" }, each.reason) : null,
      ),
    );
  }

  /* Every subject on which contestants of the claims met, and only those contestants. */
  function measured(one) {
    const ids = new Set(
      one.plugins
        .concat(...one.claims.map((each) => [each.plugin, each.against]))
        .filter(Boolean)
        .map(base),
    );
    const theirs = (id) => ids.has(base(id));
    const names = Object.keys(data.subjects).filter((name) =>
      data.subjects[name].plugins.some(theirs),
    );
    const metrics = one.claims
      .filter((each) => each.role !== "background")
      .map((each) => each.metric);
    return [
      el("h2", {}, "Its contestants over sizes and commits"),
      one.turns && one.turns.length
        ? [el("h3", {}, "History of the verdict"), site.turns(one.turns)]
        : null,
      names.map((name, i) =>
        el(
          "details",
          { open: i ? null : "" },
          el("summary", {}, "on ", name),
          withParts(["subject/" + name], (part) => [
            site.curves(part.curves, theirs) ||
              (part.tables.some((each) => each.sizes !== name)
                ? site.growth(part.tables, theirs)
                : null),
            el("h3", {}, "History"),
            site.history(part, theirs, metrics),
          ]),
        ),
      ),
    ];
  }

  Object.assign(site, { contract });
  site.pages.proposal = proposal;
})(window.site);
