"use strict";
/* One machine: what it is, its ceilings, what the gate sees on it, its roofline and its leaderboards. */
(function (site) {
  const {
    data,
    el,
    link,
    state,
    plugin,
    machine,
    commit,
    day,
    figure,
    united,
    ends,
    rate,
    table,
    facts,
    details,
    show,
    plot,
    subject,
  } = site;

  function overview() {
    const names = Object.keys(data.machines).sort();
    return show(
      "Machines",
      el("h1", {}, "Machines"),
      el(
        "p",
        {},
        "A machine is named after its processor or card; its figures speak for no other.",
      ),
      names.length
        ? table(
            ["machine", "processor", "GPU", "newest commit"],
            names.map((each) => {
              const one = data.machines[each],
                run = one.runs[0];
              return [
                machine(each),
                one.facts.cpu || "",
                one.facts.gpu || "none",
                run ? [commit(run.commit), " " + day(run.committed)] : "",
              ];
            }),
          )
        : el("p", {}, "No machine has results yet: run ", el("code", {}, "make bench"), "."),
    );
  }
  function oneMachine(name) {
    const one = data.machines[name];
    if (!one) {
      return site.missing();
    }
    const boards = data.leaderboards.filter((board) => board.machine === name);
    return show(
      name,
      el("p", {}, link("machines", "\u2190 all machines")),
      el("h1", {}, name),
      facts(
        Object.keys(one.facts)
          .sort()
          .map((key) => [key.replaceAll("_", " "), String(one.facts[key])]),
      ),
      el("h2", {}, "Ceilings"),
      ceilings(one.ceilings),
      el("h2", {}, "Roofline"),
      roofline(one.roofline, one.ceilings),
      el("h2", {}, "Leaderboards"),
      leaderboards(boards),
      el("h2", {}, "What the gate sees here"),
      site.calibration(one.gate),
      el("h2", {}, "Measured here"),
      table(
        ["commit", "date", "figures", "software"],
        one.runs.map((run) => [
          commit(run.commit),
          day(run.committed),
          figure(run.figures),
          run.stack,
        ]),
      ),
    );
  }

  function ceilings(rows) {
    if (!rows.length) {
      return lack(
        "No copy and no product were measured here, so no bound is drawn; ",
        "madbench run --suite smoke",
      );
    }
    return [
      el(
        "p",
        {},
        "The fastest copy and the fastest matrix product of each commit, measured in the run whose figures they bound.",
      ),
      table(
        ["commit", "date", "copy, beyond any cache", "smaller copies", "products", "from"],
        rows.map((row) => [
          commit(row.commit),
          day(row.committed),
          rate(row.bytes_per_s, "B/s"),
          smaller(row).map(([bytes, value]) =>
            el("div", {}, rate(value, "B/s") + " at " + rate(bytes, "B")),
          ),
          Object.entries(row.flops_per_s).map(([dtype, value]) =>
            el("div", {}, rate(value, "flop/s") + " in " + dtype),
          ),
          row.origin,
        ]),
      ),
    ];
  }
  function smaller(row) {
    return (row.copies || []).slice(0, -1);
  }
  function lack(text, command) {
    return el("p", { class: "lack" }, text, el("code", {}, command), " measures them.");
  }

  /* Kernels at their own bytes and products; what does no product has no intensity and stands in the table. */
  function roofline(rows, tops) {
    if (!rows.length) {
      return lack(
        "No kernel here has its time, its bytes and its products at one problem; ",
        "madbench run --suite smoke",
      );
    }
    const placed = rows.filter((row) => row.intensity > 0 && row.flops_per_s > 0);
    const ops = site.unique(placed, (row) => [row.op]);
    const traces = ops.map((op) => {
      const mine = placed.filter((row) => row.op === op);
      return {
        ...look(op),
        name: op,
        lines: false,
        x: mine.map((row) => row.intensity),
        y: mine.map((row) => row.flops_per_s),
        text: mine.map(
          (row) =>
            row.plugin +
            "<br>" +
            row.sizes +
            " " +
            row.dtype +
            "<br>" +
            rate(row.flops_per_s, "flop/s") +
            ", " +
            figure(row.intensity) +
            " flop/byte<br>bytes " +
            row.bytes_are,
        ),
      };
    });
    const modelled = site.unique(placed, (row) => [row.bytes_are]).join(" or ");
    const label =
      "Every kernel on the roofline of this machine: products a second against products a byte (bytes " +
      modelled +
      "). Times are measured" +
      (tops.length ? ", and so are the lines: what a copy and a product reached here." : ".");
    const left = rows.length - placed.length;
    return [
      placed.length
        ? plot({
            label: label,
            height: 480,
            traces: [...roofs(placed, tops[0]), ...traces],
            x: { title: "flop a byte, bytes " + modelled + " (log)", log: true },
            y: { title: "flop/s (log)", log: true },
            columns: [],
            rows: [],
          })
        : null,
      left
        ? el(
            "p",
            { class: "faint" },
            left === 1
              ? "One kernel below did no matrix product and has"
              : left + " kernels below did no matrix product and have",
            " no place on a log axis.",
          )
        : null,
      details(
        "Every kernel as a table (" + rows.length + ")",
        el(
          "p",
          { class: "faint" },
          "The bound is that of any implementation: compulsory bytes at ",
          "the speed of a copy as large. The own bound is that of this kernel's bytes and products. Above 100% bytes came from a cache.",
        ),
        table(
          [
            "plugin",
            "op",
            "problem",
            "measured time",
            "products",
            "bytes",
            "bound of any (modelled)",
            "own bound (modelled)",
            "waits for",
          ],
          rows.map((row) => [
            plugin(row.plugin),
            subject(row.op),
            problem(row),
            timed({ value: row.time_us, interval: row.interval }),
            united(row.flops, "flop"),
            [united(row.bytes, "bytes"), el("span", { class: "ends" }, row.bytes_are)],
            limit(row.bound_us, row.efficiency),
            limit(row.own_bound_us, row.own_efficiency),
            row.term || "",
          ]),
        ),
      ),
    ];
  }
  function problem(row) {
    return [el("code", {}, row.sizes), el("span", { class: "ends" }, row.dtype)];
  }
  function limit(us, efficiency) {
    return us
      ? [united(us, "us"), el("span", { class: "ends" }, share(efficiency) + " of the time")]
      : "";
  }
  function share(value) {
    return value ? figure(100 * value) + "\u00a0%" : "";
  }
  /* An op has no colour of its own: those of a plugin are used again, in the order of the ops. */
  function look(op) {
    const ops = site
      .unique(Object.values(data.plugins), (one) => [one.op])
      .concat(Object.keys(data.subjects).sort());
    return site.nth(ops.indexOf(op));
  }
  function roofs(rows, top) {
    if (!top) {
      return [];
    }
    const peaks = Object.entries(top.flops_per_s);
    const most = Math.max(...peaks.map(([, value]) => value));
    const xs = rows.map((row) => row.intensity);
    const low = Math.min(...xs) / 2,
      high = Math.max(Math.max(...xs) * 2, (2 * most) / top.bytes_per_s);
    const fastest = (top.copies || []).reduce(
      (best, one) => (one[1] > best[1] ? one : best),
      [0, 0],
    );
    const slopes = [["copy beyond any cache", top.bytes_per_s, "solid"]];
    if (fastest[1] > top.bytes_per_s) {
      slopes.push(["copy of " + rate(fastest[0], "B"), fastest[1], "dot"]);
    }
    const line = (name, x, y, dash, said) => ({
      name: name + ": " + said,
      x: x,
      y: y,
      marks: false,
      colour: "ink",
      width: 1.6,
      dash: dash,
      text: x.map(() => name + "<br>" + said),
    });
    return [
      ...slopes.map(([name, speed, dash]) =>
        line(name, [low, most / speed], [low * speed, most], dash, rate(speed, "B/s")),
      ),
      ...peaks.map(([dtype, peak], i) =>
        line(
          "product in " + dtype,
          [peak / Math.max(top.bytes_per_s, fastest[1]), high],
          [peak, peak],
          ["dash", "longdash", "dashdot", "longdashdot"][i % 4],
          rate(peak, "flop/s"),
        ),
      ),
    ];
  }

  function leaderboards(boards) {
    if (!boards.length) {
      return lack("No contest has been timed here; ", "madbench run --suite smoke");
    }
    return site
      .unique(boards, (board) => [board.subject])
      .map((name) => {
        const mine = boards.filter((board) => board.subject === name);
        const more = mine.length - 1;
        return [
          leaderboard(mine[0]),
          more
            ? details(
                name + ": " + site.count(more, "more problem"),
                mine.slice(1).map(leaderboard),
              )
            : null,
        ];
      });
  }
  function leaderboard(board) {
    const names = new Map(
      board.rows.flatMap((row) => Object.entries(row.against).map(([id, one]) => [id, one.name])),
    );
    const rivals = Array.from(names.keys()).sort();
    const bounded = board.rows.some((row) => row.bound_us);
    const columns = [
      "plugin",
      "contract",
      "time",
      "tokens/s",
      ...rivals.map((id) => "time over " + names.get(id)),
      ...(bounded ? ["bound of any (modelled)"] : []),
    ];
    const rows = board.rows.map((row) => [
      plugin(row.plugin),
      [state(row.contract)],
      timed(row.time),
      row.tokens_per_s ? figure(row.tokens_per_s) : "",
      ...rivals.map((id) => ratio(row.against[id])),
      ...(bounded ? [limit(row.bound_us, row.efficiency)] : []),
    ]);
    const absent = Object.entries(board.absent);
    return el(
      "section",
      { class: "board" },
      el("h3", {}, subject(board.subject), " " + board.sizes + " " + board.dtype),
      el(
        "p",
        { class: "faint" },
        "commit ",
        commit(board.commit),
        " of " +
          day(board.committed) +
          ", suite " +
          board.suite +
          (board.kind === "cpu" ? "" : ", " + board.kind),
      ),
      table(columns, rows),
      absent.length
        ? el(
            "p",
            { class: "faint" },
            "Absent: ",
            absent.map(([name, why], i) => [i ? "; " : "", el("code", {}, name), ", " + why]),
          )
        : null,
    );
  }
  function timed(one) {
    return [united(one.value, "us"), el("span", { class: "ends" }, ends(one.interval, "us"))];
  }
  function ratio(one) {
    if (!one) {
      return "";
    }
    const notes = [
      ends(one.interval, ""),
      one.paired ? "same rounds" : "other rounds",
      one.note,
    ].filter(Boolean);
    return [united(one.ratio, "x"), el("span", { class: "ends" }, notes.join("; "))];
  }

  site.pages.machines = overview;
  site.pages.machine = oneMachine;
})(window.site);
