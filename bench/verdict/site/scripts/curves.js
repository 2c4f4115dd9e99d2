"use strict";
/* Learning curves: the score of a task against the training tokens, every seed faint, the median strong. */
(function (site) {
  const { el, figure, plot, style, choice, unique, plugin, commands } = site;

  function median(values) {
    const sorted = values.slice().sort((a, b) => a - b),
      middle = Math.floor(sorted.length / 2);
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  /* where every seed was scored: a median over fewer would move for no reason */
  function common(runs, name) {
    const counts = {};
    runs.forEach((run) =>
      run[name].forEach(([tokens, value]) => {
        (counts[tokens] = counts[tokens] || []).push(value);
      }),
    );
    return Object.keys(counts)
      .map(Number)
      .sort((a, b) => a - b)
      .filter((tokens) => counts[tokens].length === runs.length)
      .map((tokens) => [tokens, median(counts[tokens])]);
  }
  function drawn(runs, name) {
    const traces = [],
      rows = [];
    unique(runs, (run) => [run.mixer]).forEach((mixer) => {
      const mine = runs.filter((run) => run.mixer === mixer && run[name].length);
      if (!mine.length) {
        return;
      }
      mine.forEach((run) => {
        traces.push({
          ...style(mixer),
          name: mixer + ", seed " + run.seed,
          x: run[name].map(([tokens]) => tokens),
          y: run[name].map(([, value]) => value),
          marks: false,
          opacity: 0.3,
          width: 1,
          silent: true,
        });
      });
      const middle = common(mine, name);
      traces.push({
        ...style(mixer),
        name: mixer + ", median of " + site.count(mine.length, "seed"),
        x: middle.map(([tokens]) => tokens),
        y: middle.map(([, value]) => value),
        width: 2.6,
        text: middle.map(
          ([tokens, value]) =>
            mixer + "<br>" + figure(tokens) + " tokens<br>median " + figure(value),
        ),
      });
      mine.forEach((run) =>
        rows.push([
          plugin(mixer),
          run.seed,
          run.rate === null || run.rate === undefined ? "" : figure(run.rate),
          figure(run.tokens),
          figure(run[name][run[name].length - 1][1]),
          run.outcome || "",
        ]),
      );
    });
    const floor = runs
      .map((run) => run.floor)
      .find((value) => value !== null && value !== undefined);
    const last = Math.max(...traces.flatMap((one) => one.x));
    if (name === "accuracies" && floor !== undefined) {
      traces.push({
        name: "by chance",
        x: [0, last],
        y: [floor, floor],
        colour: "faint",
        dash: "dot",
        marks: false,
        width: 2,
        text: ["by chance " + figure(floor), "by chance " + figure(floor)],
      });
    }
    const scored = name === "accuracies";
    const accuracy = scored && runs[0].metric === "accuracy";
    const title = scored
      ? runs[0].metric.replace("_", " ") + ", " + runs[0].unit
      : runs[0].metric === "nmse"
        ? "loss, x that of predicting zero"
        : "loss, nat";
    return plot({
      label:
        (scored ? "Score" : "Training loss") +
        " against training tokens: every seed faint, their median strong" +
        (scored ? ", the score of guessing dotted; " : "; ") +
        (scored && runs[0].higher_is_better ? "higher" : "lower") +
        " is better.",
      x: { title: "training tokens", zero: true },
      y: {
        title: title,
        zero: true,
        range: accuracy ? [0, 1.03] : undefined,
      },
      traces: traces,
      columns: ["mixer", "seed", "learning rate", "tokens", "at the end", "outcome"],
      rows: rows,
    });
  }
  function curves(all, wanted) {
    const mine = (all || []).filter((run) => wanted(run.mixer));
    if (!mine.length) {
      return null;
    }
    const key = (run) =>
      [run.task, run.machine, run.suite, run.commit.slice(0, 8)].join(" \u00b7 ");
    const tasks = unique(mine, (run) => [key(run)]);
    const now = { task: tasks[0], curve: "accuracies" };
    const head = el("div", { class: "filters" }),
      place = el("div", {});
    function draw() {
      const pick = (name) => (value) => {
        now[name] = value;
        draw();
      };
      site.replace(
        head,
        choice(
          "task",
          "task",
          tasks.map((one) => [one, one]),
          now.task,
          pick("task"),
        ),
        choice(
          "curve",
          "show",
          [
            ["accuracies", "score"],
            ["losses", "training loss"],
          ],
          now.curve,
          pick("curve"),
        ),
      );
      site.replace(
        place,
        drawn(
          mine.filter((run) => key(run) === now.task),
          now.curve,
        ),
      );
    }
    draw();
    return [head, place];
  }
  function noCurves(tasks) {
    return [
      el("p", { class: "lack" }, "No learning curve is kept; this trains again and keeps them:"),
      commands(tasks),
    ];
  }

  Object.assign(site, { curves, noCurves });
})(window.site);
