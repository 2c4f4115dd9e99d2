"use strict";
/* Which page an address names: #/plugin/scans.prefix_scan. */
(function (site) {
  const TABS = { proposal: "verdicts", plugin: "figures", machine: "machines" };
  const ASV =
    /^#\/?((kernels|tasks|static|ceilings)\.|summarylist|summarygrid|regressions|graphdisplay)/;

  function route() {
    /* links of asv's feed name one of its own pages */
    if (ASV.test(location.hash)) {
      location.replace("asv.html" + location.hash);
      return;
    }
    const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const page = name || "verdicts";
    document.querySelectorAll("nav a").forEach((tab) => {
      const now = tab.getAttribute("href") === "#/" + (TABS[page] || page);
      if (now) {
        tab.setAttribute("aria-current", "page");
      } else {
        tab.removeAttribute("aria-current");
      }
    });
    (Object.hasOwn(site.pages, page) ? site.pages[page] : site.missing)(rest.join("/"));
    window.scrollTo(0, 0);
  }
  window.addEventListener("hashchange", route);
  route();
})(window.site);
