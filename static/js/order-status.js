// Watches an order whose payment is on its way and shows the page anew when its state changes.
// @ts-check

const watched = document.getElementById("order-status");

const SOON = 2000;
const LONGEST = 30000;

/** @param {HTMLElement} region */
function watch(region) {
  const { status: shown = "", statusUrl = "" } = region.dataset;
  let wait = SOON;

  async function ask() {
    if (document.visibilityState === "visible") {
      try {
        const answer = await fetch(statusUrl, { headers: { Accept: "application/json" } });
        const { status } = await answer.json();
        if (answer.ok && status !== shown) {
          location.reload();
          return;
        }
      } catch (error) {
        // No network now; the next try may have it.
      }
      wait = Math.min(wait * 1.3, LONGEST);
    }
    setTimeout(ask, wait);
  }

  document.addEventListener("visibilitychange", () => {
    wait = SOON;
  });
  setTimeout(ask, wait);
}

if (watched) watch(watched);
