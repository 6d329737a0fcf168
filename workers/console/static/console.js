// What the console does in the browser beside htmx: no form is sent twice, no token is forgotten.
"use strict";

(() => {
  const form = (event) => event.target instanceof HTMLFormElement && event.target;

  // A second click while the first is on its way does nothing; the server would not do it twice either.
  document.addEventListener("submit", (event) => {
    const sent = form(event);
    if (!sent || sent.method !== "post") return;
    if (sent.dataset.sent) {
      event.preventDefault();
      return;
    }
    sent.dataset.sent = "yes";
    for (const button of sent.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
  });

  // One box ticks all of its form that have the name which it tells; without this script it is not there.
  for (const label of document.querySelectorAll("label[data-all]")) {
    label.hidden = false;
    label.control.addEventListener("change", () => {
      for (const each of label.closest("form").querySelectorAll(`input[name="${label.dataset.all}"]`)) {
        each.checked = label.control.checked;
      }
    });
  }

  // A page that could not be shown comes by itself when it can.
  if (document.querySelector("[data-again]")) {
    setInterval(async () => {
      const found = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
      if (found && found.status !== 503) location.reload();
    }, 5000);
  }

  // Back to a page that the browser kept: its forms may be sent again (the server decides).
  window.addEventListener("pageshow", () => {
    for (const sent of document.querySelectorAll("form[data-sent]")) {
      delete sent.dataset.sent;
      for (const button of sent.querySelectorAll("button")) button.removeAttribute("aria-disabled");
    }
  });
})();
