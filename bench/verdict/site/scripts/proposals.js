"use strict";
/* The first page: all proposals, filtered and sorted. */
(function (site) {
  const { data, el, link, state, commas, machine, commit, day, choice, unique, show } = site;
  const ORDER = ["PROCEED", "ABANDON", "DEBUG", "INCONCLUSIVE", "UNTESTED"];
  const STATES = ["confirmed", "refuted", "inconclusive", "broken", "untested"];
  const NO_PLUGIN = "no plugin yet";
  const wish = { family: "", verdict: "", machine: "", text: "", sort: "verdict", down: false };

  const COLUMNS = {
    id: ["no.", (one) => one.id],
    title: ["title", (one) => title(one)],
    family: ["family", (one) => one.family],
    verdict: [
      "verdict",
      (one) => [ORDER.indexOf(one.verdict), one.claims_file ? 0 : 1, one.id].join(),
    ],
    since: ["since", (one) => (since(one) ? since(one).committed : "")],
    reported: ["reported before", (one) => one.status || ""],
    reproduced: ["reproduced", (one) => reproduced(one)],
    machine: ["machine", (one) => one.machines.join(" ")],
    committed: ["measured at", (one) => one.committed || ""],
  };
  function title(one) {
    return one.title || "without a title";
  }
  /* The commit at which the verdict became what it is; what was never measured has none. */
  function since(one) {
    const last = (one.turns || [])[(one.turns || []).length - 1];
    return last && last.commit ? last : null;
  }
  function reproduced(one) {
    if (!one.reproduced) {
      return "";
    }
    return STATES.filter((name) => one.reproduced[name])
      .map((name) => one.reproduced[name] + " " + name)
      .join(", ");
  }
  function fits(one) {
    const text = (one.id + " " + title(one)).toLowerCase();
    return (
      (!wish.family || one.family === wish.family) &&
      (!wish.verdict || one.verdict === wish.verdict) &&
      (!wish.machine || one.machines.includes(wish.machine)) &&
      text.includes(wish.text.toLowerCase())
    );
  }
  function compare(a, b) {
    const x = COLUMNS[wish.sort][1](a),
      y = COLUMNS[wish.sort][1](b);
    /* what is empty stays last, whichever way is sorted */
    if (!x !== !y) {
      return x ? -1 : 1;
    }
    if (x === y) {
      return a.id < b.id ? -1 : 1;
    }
    return (x < y ? -1 : 1) * (wish.down ? -1 : 1);
  }
  function row(one) {
    const turn = since(one);
    const cells = [
      link("proposal/" + one.id, one.id),
      link("proposal/" + one.id, title(one)),
      one.family,
      [state(one.verdict), el("span", { class: "ends" }, one.claims_file ? one.rule : NO_PLUGIN)],
      turn ? [day(turn.committed), el("span", { class: "ends" }, commit(turn.commit))] : "",
      one.status || "",
      reproduced(one),
      commas(one.machines.map(machine)),
      day(one.committed),
    ];
    return el(
      "tr",
      { "data-proposal": one.id, "data-verdict": one.verdict },
      cells.map((cell, i) => {
        const blank = cell === "" || (Array.isArray(cell) && !cell.length);
        return el(
          "td",
          { "data-label": Object.values(COLUMNS)[i][0], class: blank ? "blank" : null },
          cell,
        );
      }),
    );
  }

  function verdicts() {
    const body = el("tbody", {}),
      count = el("p", { class: "faint", "aria-live": "polite" }),
      heads = {};
    function draw() {
      const rows = data.proposals.filter(fits).sort(compare);
      site.replace(body, rows.map(row));
      count.textContent = rows.length + " of " + data.proposals.length + " proposals";
      Object.entries(heads).forEach(([name, head]) => {
        const now = wish.sort === name;
        head.setAttribute("aria-sort", now ? (wish.down ? "descending" : "ascending") : "none");
        head.firstChild.textContent =
          COLUMNS[name][0] + (now ? (wish.down ? " \u25be" : " \u25b4") : "");
      });
    }
    function filter(name, values) {
      const options = [["", "all"], ...values.map((value) => [value, value])];
      return choice(name, name, options, wish[name], (value) => {
        wish[name] = value;
        draw();
      });
    }
    function head(name) {
      heads[name] = el(
        "th",
        { scope: "col" },
        el(
          "button",
          {
            type: "button",
            onclick: () => {
              wish.down = wish.sort === name && !wish.down;
              wish.sort = name;
              draw();
            },
          },
          COLUMNS[name][0],
        ),
      );
      return heads[name];
    }
    const tally = ORDER.map((name) =>
      el("span", {}, data.proposals.filter((one) => one.verdict === name).length, " ", state(name)),
    );
    const search = el("input", {
      type: "search",
      value: wish.text,
      size: 16,
      oninput: (event) => {
        wish.text = event.target.value;
        draw();
      },
    });
    show(
      "Verdicts",
      el("h1", {}, "Which proposals are worth a GPU?"),
      el(
        "p",
        {},
        "Every verdict follows from measurements by a ",
        link("reading", "named rule"),
        "; open a proposal for its claims, the evidence and the commands that take it again. Which ",
        "state transition follows which group, side by side: ",
        link("transitions", "the head-to-head"),
        ".",
      ),
      el("div", { class: "tally" }, tally),
      el(
        "div",
        { class: "filters" },
        filter(
          "family",
          unique(data.proposals, (one) => [one.family]),
        ),
        filter("verdict", ORDER),
        filter(
          "machine",
          unique(data.proposals, (one) => one.machines),
        ),
        el("label", {}, "number or title", search),
      ),
      count,
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { id: "verdicts", class: "cards" },
          el("thead", {}, el("tr", {}, Object.keys(COLUMNS).map(head))),
          body,
        ),
      ),
      el(
        "p",
        { class: "faint" },
        "Since: the commit whose figures made the verdict what it is. Reproduced: of the claims ",
        "about which a figure was reported before, how many came out how when measured here. What was reported is never ",
        "counted as a result.",
      ),
    );
    draw();
  }

  Object.assign(site, { title, since, reproduced, STATES, NO_PLUGIN });
  site.pages.verdicts = verdicts;
})(window.site);
