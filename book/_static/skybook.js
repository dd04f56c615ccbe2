// Names for controls that the theme and the widgets leave without one, so that a screen reader can say what they are.
(function () {
  "use strict";

  function theme() {
    // The visible words of these buttons are their name; a different label hides them.
    for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
    for (const button of document.querySelectorAll(".theme-switch-button")) {
      for (const icon of button.querySelectorAll("i, svg")) {
        icon.removeAttribute("title");
        icon.setAttribute("aria-hidden", "true");
        icon.querySelectorAll("title").forEach((title) => title.remove());
      }
    }
    // So are the words of a fold.
    for (const fold of document.querySelectorAll("div.cell details.hide > summary")) fold.removeAttribute("aria-label");
    // The arrow that opens a part of the contents.
    for (const summary of document.querySelectorAll(".bd-docs-nav summary")) {
      const link = summary.closest("li").querySelector("a");
      if (link) summary.setAttribute("aria-label", "Pages under " + link.textContent.trim());
    }
  }

  function widgets() {
    for (const handle of document.querySelectorAll(".noUi-handle:not([aria-label])")) {
      const row = handle.closest(".jupyter-widgets");
      const label = row && row.querySelector(".widget-label");
      handle.setAttribute("aria-label", (label && label.textContent.trim()) || "slider");
    }
  }

  function scrolling() {
    // What scrolls sideways must be reached by the keyboard. The theme looks once, when the page opens; a window can change its width.
    for (const box of document.querySelectorAll("article pre, .pst-scrollable-table-container, div.math")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    }
  }

  document.addEventListener("DOMContentLoaded", function () {
    theme();
    scrolling();
    window.addEventListener("load", scrolling);
    window.addEventListener("resize", scrolling);
    // Font Awesome replaces the icons after this, with titles of its own; widgets appear when their scripts have run.
    let waiting = false;
    new MutationObserver(function () {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(function () {
        waiting = false;
        theme();
        widgets();
        scrolling();
      });
    }).observe(document.body, { childList: true, subtree: true });
  });
})();
