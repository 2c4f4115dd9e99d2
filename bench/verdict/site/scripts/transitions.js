"use strict";
/* Which transition follows which group, and for how many times the trained length. */
(function (site) {
  const { data, el, base, plugin, machine, commit, figure, ends, table, list, choice, show } = site;
  const PART = "head_to_head/transitions";
  /* a variant has the colour of its plugin, and a dash and a marker of its own */
  const DASHES = ["dash", "dot", "dashdot", "longdash", "longdashdot"];
  const wish = { machine: "", shown: "" };

  function transitions(proposal) {
    wish.shown = proposal || "";
    return show(
      "Which transition?",
      el("h1", {}, "Which state transition follows which group?"),
      el(
        "p",
        {},
        "A recurrence h[t] = A(x[t]) h[t\u22121] + k v\u1d40 reads a word over a group and must name the product at its ",
        "end. Every transition has the same layer around it and as many elements in its state, to a twentieth; it trains on ",
        "short words and is asked about longer ones. Learning rates were chosen on other seeds than those shown.",
      ),
      site.withParts([PART], (whole) => [body(whole), beside(whole.published)]),
    );
  }
  function body(whole) {
    if (!whole.panels.length) {
      return el(
        "p",
        { class: "lack" },
        "Nothing has been trained at the full budget yet: ",
        el("code", {}, "madbench run --suite transitions"),
        " begins.",
      );
    }
    const machines = site.unique(whole.panels, (one) => [one.machine]);
    wish.machine = machines.includes(wish.machine) ? wish.machine : machines[0];
    const head = el("div", { class: "filters" }),
      place = el("div", {});
    function draw() {
      const pick = (name) => (value) => {
        wish[name] = value;
        draw();
      };
      const named = (values) => values.map((value) => [value, value]);
      site.replace(
        head,
        choice("machine", "machine", named(machines), wish.machine, pick("machine")),
        choice("shown", "transitions", shownOptions(), wish.shown, pick("shown")),
      );
      // of any group, so that a mixer is shown on all groups or on none
      const controls = whole.panels.flatMap((one) => Object.values(one.controls).flat());
      const panels = whole.panels
        .filter((one) => one.machine === wish.machine)
        .map((one) => ({ ...one, rows: one.rows.filter((row) => fits(row.mixer, controls)) }));
      site.replace(place, overview(panels), panels.map(panel));
    }
    draw();
    return [head, place];
  }
  function shownOptions() {
    const met = (one) => one.plugins.some((id) => data.transitions.mixers.includes(id));
    return [["", "one of each idea"], ["all", "every variant"]].concat(
      data.proposals.filter(met).map((one) => [one.id, one.id + " " + site.title(one)]),
    );
  }
  function fits(mixer, controls) {
    if (wish.shown === "all") {
      return true;
    }
    const proposal = data.proposals.find((one) => one.id === wish.shown);
    return proposal
      ? proposal.plugins.concat(controls).includes(mixer)
      : base(mixer) === mixer || controls.includes(mixer);
  }

  function name(panel) {
    const group = panel.group.replace(/^([A-Z])(\d+)$/, "$1\u2009$2");
    return group + ", " + panel.letters + ", trained on " + panel.length + " letters";
  }
  function times(multiple) {
    return multiple ? multiple + "\u00d7" : "\u2013";
  }
  function equal(panel) {
    return panel.rows.filter((row) => row.equal);
  }

  /* The picture: how far every transition gets on every group. */
  function overview(panels) {
    const mixers = site.unique(panels, (one) => equal(one).map((row) => row.mixer));
    const reached = (mixer) =>
      panels.map((one) => equal(one).find((row) => row.mixer === mixer)).filter(Boolean);
    const total = (mixer) =>
      reached(mixer).reduce((sum, row) => sum + row.stops.median + row.stops["every seed"], 0);
    mixers.sort((a, b) => total(b) - total(a) || (a < b ? -1 : 1));
    const heads = panels.map((one) =>
      el("th", { scope: "col", title: one.says }, [
        one.group,
        el("span", { class: "ends" }, one.letters),
        el("span", { class: "ends" }, "T\u2009=\u2009" + one.length),
      ]),
    );
    const rows = mixers.map((mixer) =>
      el(
        "tr",
        { "data-mixer": mixer },
        el("th", { scope: "row" }, plugin(mixer)),
        panels.map((one) => cell(equal(one).find((row) => row.mixer === mixer))),
      ),
    );
    return el(
      "section",
      {},
      el("h2", {}, "Where each stops"),
      el(
        "p",
        { class: "faint" },
        "The largest multiple of the trained length up to which a word problem is solved: by the median of the seeds, ",
        "and below it by every one. A dash: not even at the trained length. Blank: not trained.",
      ),
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { class: "reach" },
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "transition"), heads)),
          el("tbody", {}, rows),
        ),
      ),
      apart(panels),
    );
  }
  function cell(row) {
    if (!row) {
      return el("td", {});
    }
    const far = row.stops.median ? 1 + Math.log2(row.stops.median) : 0;
    return el(
      "td",
      { class: "far" + Math.min(5, Math.floor(far)), title: solvedAt(row) },
      times(row.stops.median),
      el("span", { class: "ends" }, times(row.stops["every seed"])),
    );
  }
  function solvedAt(row) {
    return row.points
      .map((one) => times(one.multiple) + ": " + one.solved + " of " + row.seeds + " seeds")
      .join(", ");
  }
  /* what is not comparable is named, with the reason */
  function apart(panels) {
    const said = panels.flatMap((one) => [
      ...one.rows
        .filter((row) => !row.equal)
        .map((row) => [row.mixer, "a state of " + figure(row.state) + " elements", one]),
      ...one.broken.map((mixer) => [mixer, "its contract fails at this commit: no figures", one]),
    ]);
    const lines = site
      .unique(said, ([mixer, why]) => [mixer + "\n" + why])
      .map((key) => {
        const [mixer, why] = key.split("\n");
        const where = said.filter((one) => one[0] === mixer && one[1] === why);
        const wanted = where[0][2].state;
        return [
          plugin(mixer),
          ": " + why + (where[0][2].broken.includes(mixer) ? "" : ", not " + figure(wanted)),
          " (" + places(where, panels) + ")",
        ];
      });
    return lines.length ? [el("p", {}, "Left out of the table and the plots:"), list(lines)] : null;
  }

  function places(said, panels) {
    const named = ([, , one]) => one.group + " " + one.letters + " of " + one.length;
    return said.length === panels.length ? "on every group" : said.map(named).join(", ");
  }

  function panel(one) {
    const traces = equal(one).map((row) => trace(row, one));
    const all = [1, ...one.rows.flatMap((row) => row.points.map((point) => point.multiple))];
    const last = Math.max(...all);
    const line = (label, value, dash) => ({
      name: label,
      x: [1, last],
      y: [value, value],
      colour: "faint",
      dash: dash,
      marks: false,
      width: 1.4,
      text: [label + " " + figure(value), label + " " + figure(value)],
    });
    traces.push(line("solved", one.solved, "dash"), line("by guessing", one.floor, "dot"));
    const ticks = site.unique(all, (value) => [value]).sort((a, b) => a - b);
    return el(
      "section",
      { "data-task": one.task },
      el("h2", {}, name(one)),
      el(
        "p",
        { class: "faint" },
        one.says + " " + figure(one.tokens) + " training tokens. Controls: ",
        site.said(one.controls) + ". On ",
        machine(one.machine),
        one.cost_sizes ? ". The layer alone was timed at " + one.cost_sizes + "." : ".",
      ),
      site.plot({
        label:
          "Accuracy at the end of a word against its length, as a multiple of the trained one: median of the seeds, bars " +
          "from the worst seed to the best; higher is better.",
        x: { title: "length / trained length", log: true, ticks: ticks },
        y: { title: "accuracy, fraction", zero: true, range: [0, 1.03] },
        traces: traces,
        ...figures(one, ticks),
      }),
    );
  }
  function trace(row, one) {
    const variants = one.rows
      .map((each) => each.mixer)
      .filter((mixer) => base(mixer) === base(row.mixer) && base(mixer) !== mixer);
    const place = variants.indexOf(row.mixer);
    const look = site.style(row.mixer);
    return {
      ...look,
      dash: place < 0 ? look.dash : DASHES[place % DASHES.length],
      symbol: look.symbol + (place % 2 === 1 ? "-dot" : ""),
      name: row.mixer,
      x: row.points.map((point) => point.multiple),
      y: row.points.map((point) => point.median),
      low: row.points.map((point) => point.range[0]),
      high: row.points.map((point) => point.range[1]),
      text: row.points.map(
        (point) =>
          row.mixer +
          "<br>" +
          times(point.multiple) +
          ": median " +
          figure(point.median) +
          "<br>solved by " +
          point.solved +
          " of " +
          row.seeds,
      ),
    };
  }
  function figures(one, ticks) {
    const columns = ["transition", "seeds"]
      .concat(ticks.map(times))
      .concat(["stops at, median", "stops at, every seed", "parameters", "state (elements)", "training flop/token"])
      .concat(["layer, us/token", "learning rate", "outcomes", "commit"]);
    const at = (row, multiple) => row.points.find((point) => point.multiple === multiple);
    const rows = one.rows.map((row) => [
      plugin(row.mixer),
      row.seeds,
      ...ticks.map((multiple) => accuracy(at(row, multiple), row)),
      times(row.stops.median),
      times(row.stops["every seed"]),
      known(row.parameters),
      row.state === null ? "" : figure(row.state) + (row.equal ? "" : ", apart"),
      known(row.flops),
      row.cost ? [figure(row.cost.value), whole(ends(row.cost.interval, ""))] : "",
      row.rates.map(figure).join(", "),
      [site.said(row.outcomes), row.reasons.length ? under(row.reasons.join("; ")) : null],
      commit(row.commit),
    ]);
    return { columns: columns, rows: rows };
  }
  function accuracy(point, row) {
    if (!point) {
      return "";
    }
    const solved = point.solved + "/" + row.seeds + " solved";
    return [figure(point.median), whole(between(point.interval)), whole(solved)];
  }
  function under(text) {
    return el("span", { class: "ends" }, text);
  }
  /* seeds that agree are no exact figure */
  function between([low, high]) {
    return figure(low) + " to " + figure(high);
  }
  function whole(text) {
    return el("span", { class: "ends whole" }, text);
  }
  function known(value) {
    return value === null ? "" : figure(value);
  }

  function beside(rows) {
    const columns = ["model", "published", "measured here", "ours", "difference", "their setting"];
    return [
      el("h2", {}, "Published accuracies side by side"),
      el(
        "p",
        {},
        "What others reported, and the task and mixer here that come nearest. Settings differ and are named: a figure ",
        "agrees when a task that they solved is solved here by the median seed, or failed where they failed.",
      ),
      table(
        columns,
        rows.map((one) => [
          one.model,
          [one.published, under(one.source)],
          one.measured.length ? one.measured.map(measured) : "not measured yet",
          [plugin(one.mixer), " on ", site.subject(one.task), under(one.ours)],
          one.differs,
          one.setting,
        ]),
      ),
    ];
  }
  function measured(one) {
    return el("div", { "data-agrees": one.as_published }, [
      figure(one.median),
      whole(between(one.interval)),
      whole(one.solved + "/" + one.seeds + " seeds solved"),
      whole(one.outcome + (one.as_published ? ", as published" : ", not as published")),
      under(["on ", machine(one.machine), " at ", commit(one.commit)]),
    ]);
  }

  site.pages.transitions = transitions;
})(window.site);
