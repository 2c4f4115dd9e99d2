"use strict";
/* Every change that was found, with a direction: what got worse and did not come back stands first. */
(function (site) {
  const { data, el, choice, unique, show, changeTable } = site;
  const KINDS = ["worse", "recovered", "better", "shown"];
  const SAYS = {
    worse: "worse, and still so",
    recovered: "worse, and came back",
    better: "better",
    shown: "neither: the metric decides nothing",
  };
  const wish = { machine: "", metric: "", kind: "", text: "" };

  function fits(one) {
    return (
      (!wish.machine || one.machine === wish.machine) &&
      (!wish.metric || one.metric === wish.metric) &&
      (!wish.kind || one.direction === wish.kind) &&
      one.plugin.includes(wish.text.trim())
    );
  }
  function order(a, b) {
    const x = KINDS.indexOf(a.direction),
      y = KINDS.indexOf(b.direction);
    return x - y || (a.committed < b.committed ? 1 : a.committed > b.committed ? -1 : 0);
  }
  function changes() {
    const all = data.changes;
    const place = el("div", {}),
      count = el("p", { class: "faint", "aria-live": "polite" });
    function draw() {
      const rows = all.filter(fits).sort(order);
      count.textContent = rows.length + " of " + site.count(all.length, "change");
      site.replace(place, changeTable(rows));
    }
    const filter = (name, values, says) =>
      choice(
        name,
        name === "kind" ? "direction" : name,
        [["", "all"], ...values.map((value) => [value, says ? says[value] : value])],
        wish[name],
        (value) => {
          wish[name] = value;
          draw();
        },
      );
    const search = el("input", {
      type: "search",
      value: wish.text,
      size: 20,
      oninput: (event) => {
        wish.text = event.target.value;
        draw();
      },
    });
    show(
      "Changes",
      el("h1", {}, "What changed, and at which commit"),
      el(
        "p",
        {},
        "Every figure is followed over commits on its own machine and software. Which way is worse is known for each ",
        "metric; what came back is kept as history.",
      ),
      el(
        "div",
        { class: "filters" },
        filter("kind", KINDS, SAYS),
        filter(
          "machine",
          unique(all, (one) => [one.machine]),
        ),
        filter(
          "metric",
          unique(all, (one) => [one.metric]),
        ),
        el("label", {}, "plugin", search),
      ),
      count,
      all.length
        ? place
        : el(
            "p",
            { class: "lack" },
            "No change has been found: a figure needs several commits, which ",
            el("code", {}, "madbench run --suite smoke --commit REV"),
            " measures.",
          ),
      el(
        "p",
        { class: "faint" },
        el("a", { href: "asv.html#/" }, "asv's own pages"),
        " show every series; its ",
        el("a", { href: "asv.html#/regressions" }, "regressions"),
        " are the changes above that are worse.",
      ),
    );
    draw();
  }
  site.pages.changes = changes;
})(window.site);
