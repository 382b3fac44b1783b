// The clock of a hold: counts down, warns before the end, and asks the server what happened then.
// @ts-check

const box = document.getElementById("hold");
const left = document.getElementById("hold-left");
const warning = document.getElementById("hold-warning");

const ASK_EVERY = 3000;

/** @param {number} seconds */
function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}

/** @param {HTMLElement} hold @param {HTMLElement} time @param {HTMLElement} notice */
function run(hold, time, notice) {
  const { expiresAt = "", now = "", statusUrl = "", orderUrl = "" } = hold.dataset;
  const { warnSeconds = "120", warning: warningText = "", expired = "" } = hold.dataset;
  // The buyer's own clock may be wrong: only the span between two of the server's times counts.
  const span = Date.parse(expiresAt) - (now ? Date.parse(now) : Date.now());
  const end = performance.now() + span;
  let warned = false;
  let paying = false;
  document.addEventListener("tmt:paying", (event) => {
    paying = event instanceof CustomEvent && event.detail.busy === true;
  });

  /** The page is left once the server says that the hold has ended; a payment is not cut off. */
  async function ask() {
    try {
      const answer = await fetch(statusUrl, { headers: { Accept: "application/json" } });
      const { status } = await answer.json();
      if (status !== "held" && !paying) {
        location.replace(orderUrl);
        return;
      }
    } catch {
      // No network now; the next try may have it.
    }
    setTimeout(ask, ASK_EVERY);
  }

  function tick() {
    const seconds = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    time.textContent = clock(seconds);
    hold.classList.toggle("hold-soon", seconds <= Number(warnSeconds));
    if (seconds === 0) {
      notice.textContent = expired;
      void ask();
      return;
    }
    if (seconds <= Number(warnSeconds) && !warned) {
      warned = true;
      notice.textContent = warningText;
    }
    setTimeout(tick, 250);
  }

  tick();
}

if (box && left && warning) run(box, left, warning);
