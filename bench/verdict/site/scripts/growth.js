"use strict";
/* How figures grow with the length T: time, bytes and error, of one plugin or of all contestants. */
(function (site) {
  const { data, el, figure, united, ends, plot, style, choice, unique, plugin, commit, day } = site;
  const SPEED = {
    us_per_token: "us per token",
    tokens_per_s: "tokens per second",
    time: "us per call",
    train_time: "us per call with its gradient",
  };

  function axes(sizes) {
    return Object.fromEntries(sizes.split("-").map((part) => [part[0], Number(part.slice(1))]));
  }
  function rest(sizes) {
    return sizes
      .split("-")
      .filter((part) => part[0] !== "T")
      .join(" ");
  }
  /* Tables with a length, newest last, so that a newer figure takes the place of an older one. */
  function withLength(tables) {
    return tables
      .filter(
        (one) =>
          /(^|-)T\d/.test(one.sizes) && one.sizes !== one.subject && !one.kind.startsWith("sm_"),
      )
      .sort((a, b) => (a.committed < b.committed ? -1 : a.committed > b.committed ? 1 : 0));
  }
  /* metric to id to T to {value, interval, table} */
  function collected(tables, metrics, wanted) {
    const found = {};
    tables.forEach((table) =>
      table.rows
        .filter((row) => wanted(row.plugin))
        .forEach((row) => {
          metrics.forEach((metric) => {
            const cell = metric === "compulsory" ? compulsory(row.figures) : row.figures[metric];
            if (!cell) {
              return;
            }
            const mine = (found[metric] = found[metric] || {});
            (mine[row.plugin] = mine[row.plugin] || {})[axes(table.sizes).T] = {
              ...cell,
              table: table,
            };
          });
        }),
    );
    return found;
  }
  function exactly(value) {
    return { value: value, interval: [value, value] };
  }
  /* what was measured before it had a figure of its own has it by division */
  function compulsory(figures) {
    const { traffic, traffic_ratio: ratio } = figures;
    return (
      figures.compulsory ||
      (traffic && ratio ? exactly(Math.round(traffic.value / ratio.value)) : null)
    );
  }
  function points(by) {
    return Object.keys(by)
      .map(Number)
      .sort((a, b) => a - b)
      .map((length) => ({ T: length, ...by[length] }));
  }
  function series(name, by, unit, more) {
    const here = points(by);
    const exact = here.every((one) => one.interval[0] === one.interval[1]);
    return {
      name: name,
      x: here.map((one) => one.T),
      y: here.map((one) => one.value),
      low: exact ? null : here.map((one) => one.interval[0]),
      high: exact ? null : here.map((one) => one.interval[1]),
      text: here.map(
        (one) =>
          name +
          "<br>T " +
          figure(one.T) +
          ": " +
          united(one.value, unit) +
          (exact ? "" : "<br>99% interval " + ends(one.interval, unit)),
      ),
      ...more,
    };
  }
  function rows(name, by, unit) {
    return points(by).map((one) => [
      name,
      figure(one.T),
      united(one.value, unit),
      ends(one.interval, unit),
      one.table ? [commit(one.table.commit), " ", day(one.table.committed)] : "",
    ]);
  }
  function lengths(lists) {
    return unique(lists, (one) => one.x).sort((a, b) => a - b);
  }
  function drawn(spec, traces, rowsOf) {
    const at = lengths(traces);
    const unlike = traces.some((one) => one.x.length > 1);
    if (!unlike) {
      return null;
    }
    return plot({
      ...spec,
      traces: traces,
      x: { title: "T, tokens (log)", log: true, ticks: at, texts: at.map(figure) },
      columns: ["series", "T", "value", "99% interval", "commit"],
      rows: rowsOf,
    });
  }

  /* Bounds of the problems shown: of any implementation, from the compulsory bytes, and of one kernel alone. */
  function bounds(tables, id, name) {
    const found = {};
    tables.forEach((table) =>
      (data.machines[table.machine] || { roofline: [] }).roofline.forEach((row) => {
        const here =
          row.sizes === table.sizes && row.dtype === table.dtype && row.op === table.subject;
        if (here && row[name] && (!id || row.plugin === id)) {
          found[axes(row.sizes).T] = { ...exactly(row[name]), sizes: axes(row.sizes) };
        }
      }),
    );
    return found;
  }
  /* Rivals of the tables' own rounds, which compute another function: name to T to time. */
  function rivals(tables) {
    const found = {};
    tables.forEach((table) =>
      data.leaderboards
        .filter((board) =>
          ["machine", "subject", "sizes", "dtype"].every((name) => board[name] === table[name]),
        )
        .forEach((board) =>
          board.rivals.forEach((rival) => {
            const mine = (found[rival.plugin] = found[rival.plugin] || { name: rival.name, by: {} });
            mine.by[axes(table.sizes).T] = { ...rival.time, sizes: axes(table.sizes) };
          }),
        ),
    );
    return found;
  }
  /* microseconds of a call as the metric that is shown; a rate swaps the ends of its interval */
  function timed(by, metric) {
    return Object.fromEntries(
      Object.entries(by).map(([length, one]) => {
        const tokens = (one.sizes.B || 1) * one.sizes.T;
        const turn = (us) =>
          us === null
            ? null
            : { us_per_token: us / tokens, tokens_per_s: (1e6 * tokens) / us, time: us }[metric];
        const ends = one.interval.map(turn);
        return [
          length,
          {
            value: turn(one.value),
            interval: metric === "tokens_per_s" ? ends.reverse() : ends,
          },
        ];
      }),
    );
  }

  function speed(tables, metric, wanted, strong) {
    const unit = data.metrics[metric].unit;
    const found = collected(tables, [metric], wanted)[metric] || {};
    const ids = Object.keys(found).sort();
    const traces = ids.map((id) =>
      series(id, found[id], unit, {
        ...style(id),
        width: id === strong ? 3.2 : 1.6,
        opacity: strong && id !== strong ? 0.6 : 1,
      }),
    );
    const rowsOf = ids.flatMap((id) => rows(id, found[id], unit));
    if (metric !== "train_time") {
      Object.entries(rivals(tables)).forEach(([id, rival]) => {
        const by = timed(rival.by, metric);
        const name = rival.name + ", another function";
        /* of another op, so its colour is no contestant's */
        const look = { ...style(id), colour: "ink", dash: "dash", opacity: 0.7 };
        traces.push(series(name, by, unit, { ...look, symbol: look.symbol + "-open" }));
        rowsOf.push(...rows(name, by, unit));
      });
    }
    const limits =
      metric === "train_time"
        ? []
        : [
            [
              "bound of any (modelled): compulsory bytes as a copy",
              bounds(tables, null, "bound_us"),
              "ink",
              "dot",
            ],
            [
              "bound of " + strong + " (modelled): its own bytes",
              strong ? bounds(tables, strong, "own_bound_us") : {},
              "faint",
              "dashdot",
            ],
          ];
    limits
      .filter(([, by]) => Object.keys(by).length)
      .forEach(([name, by, colour, dash]) => {
        traces.push(
          series(name, timed(by, metric), unit, {
            colour: colour,
            dash: dash,
            marks: Object.keys(by).length < 2,
            symbol: "line-ew-open",
          }),
        );
        rowsOf.push(...rows(name, timed(by, metric), unit));
      });
    const label = SPEED[metric].replace("us ", "\u00b5s ");
    return drawn(
      {
        label:
          "Measured " +
          label +
          " against T, with 99% intervals; " +
          (data.metrics[metric].higher_is_better ? "higher" : "lower") +
          " is better." +
          (limits.some(([, by]) => Object.keys(by).length) ? " Bounds are modelled." : ""),
        y: { title: label + " (log)", log: true },
      },
      traces,
      rowsOf,
    );
  }
  function bytes(tables, wanted) {
    const found = collected(tables, ["traffic", "dram_traffic", "compulsory"], wanted);
    const traces = [],
      rowsOf = [];
    [
      ["traffic", "modelled: counted while it ran on the CPU", "solid", true],
      ["dram_traffic", "measured: by the card's counters", "dash", true],
    ].forEach(([metric, group, dash], i) => {
      Object.keys(found[metric] || {})
        .sort()
        .forEach((id, k) => {
          const name = id + (i ? " (measured)" : " (modelled)");
          const look = style(id);
          traces.push(
            series(name, found[metric][id], "bytes", {
              ...look,
              dash: dash,
              group: group,
              titled: k === 0,
              symbol: i ? look.symbol + "-open" : look.symbol,
            }),
          );
          rowsOf.push(...rows(name, found[metric][id], "bytes"));
        });
    });
    /* inputs and outputs are the op's, so every contestant's are the same */
    const least = Object.assign({}, ...Object.values(found.compulsory || {}));
    if (Object.keys(least).length) {
      traces.push(
        series("compulsory", least, "bytes", {
          colour: "ink",
          dash: "dot",
          marks: false,
          width: 2,
          group: "every input and output once",
          titled: true,
        }),
      );
      rowsOf.push(...rows("compulsory", least, "bytes"));
    }
    return drawn(
      {
        label:
          "Bytes moved by one call against T: modelled, measured where a card has counters, and " +
          "compulsory; lower is better.",
        y: { title: "bytes a call (log)", log: true },
      },
      traces,
      rowsOf,
    );
  }
  function error(tables, wanted) {
    const traces = [],
      rowsOf = [];
    const dashes = ["solid", "dash", "dot", "dashdot"];
    unique(tables, (one) => [one.dtype]).forEach((dtype, i) => {
      const found =
        collected(
          tables.filter((one) => one.dtype === dtype),
          ["error"],
          wanted,
        ).error || {};
      Object.keys(found)
        .sort()
        .forEach((id) => {
          /* an error of nothing has no place on a log axis; the table has it */
          const above = Object.fromEntries(
            Object.entries(found[id]).filter(([, one]) => one.value > 0),
          );
          traces.push(
            series(id + " " + dtype, above, "", { ...style(id), dash: dashes[i % 4], opacity: 1 }),
          );
          rowsOf.push(...rows(id + " " + dtype, found[id], "rel"));
        });
    });
    return drawn(
      {
        label:
          "Error of the output relative to the float64 reference against T, by dtype; lower is better.",
        y: { title: "relative RMS error (log)", log: true },
      },
      traces.filter((one) => one.x.length),
      rowsOf,
    );
  }

  /* All three, on the problem that is chosen. wanted: which ids are shown; strong: the page's own. */
  function growth(all, wanted, strong) {
    const tables = withLength(all).filter((one) => one.rows.some((row) => wanted(row.plugin)));
    const problems = {};
    tables.forEach((one) => {
      const key = [one.machine, one.kind, rest(one.sizes)].join(" \u00b7 ");
      (problems[key] = problems[key] || []).push(one);
    });
    const longest = (one) => new Set(problems[one].map((table) => axes(table.sizes).T)).size;
    const keys = Object.keys(problems)
      .filter((one) => longest(one) > 1)
      .sort((a, b) => longest(b) - longest(a));
    if (!keys.length) {
      return lack(tables);
    }
    const now = { problem: keys[0], dtype: null, metric: "us_per_token" };
    const head = el("div", { class: "filters" }),
      place = el("div", {});
    function draw() {
      const here = problems[now.problem];
      const types = unique(here, (one) => [one.dtype]).sort(
        (a, b) => longestOf(here, b) - longestOf(here, a),
      );
      if (!types.includes(now.dtype)) {
        now.dtype = types[0];
      }
      const mine = here.filter((one) => one.dtype === now.dtype);
      const metrics = Object.keys(SPEED).filter((name) =>
        mine.some((one) => one.columns.includes(name)),
      );
      const pick = (name) => (value) => {
        now[name] = value;
        draw();
      };
      site.replace(
        head,
        choice(
          "problem",
          "machine and sizes",
          keys.map((one) => [one, one.replace(" \u00b7 cpu", "")]),
          now.problem,
          pick("problem"),
        ),
        choice(
          "dtype",
          "dtype",
          types.map((one) => [one, one]),
          now.dtype,
          pick("dtype"),
        ),
        choice(
          "speed",
          "speed as",
          metrics.map((one) => [one, SPEED[one]]),
          now.metric,
          pick("metric"),
        ),
      );
      site.replace(
        place,
        el("h3", {}, "Speed against T"),
        speed(mine, now.metric, strong ? () => true : wanted, strong) || lack(mine, "times"),
        el("h3", {}, "Bytes against T"),
        bytes(mine, wanted) || lack(mine, "bytes"),
        el("h3", {}, "Error against T"),
        error(here, wanted) || lack(here, "errors"),
      );
    }
    draw();
    return [head, place];
  }
  function longestOf(tables, dtype) {
    return new Set(tables.filter((one) => one.dtype === dtype).map((one) => axes(one.sizes).T))
      .size;
  }
  function lack(tables, what) {
    const at = unique(tables, (one) => [axes(one.sizes).T]).sort((a, b) => a - b);
    const there =
      at.length > 1
        ? "No " + (what || "figures") + " of two lengths of one problem"
        : at.length
          ? "Measured at one length only, T = " + figure(at[0])
          : "Not measured at any length";
    return el(
      "p",
      { class: "lack" },
      there + ", so there is no curve to draw; ",
      el("code", {}, "madbench run --suite lengths"),
      " measures several.",
    );
  }

  Object.assign(site, { growth });
})(window.site);
