// The clock of a hold: counts down, warns before the end, gets more time, and asks the server what
// happened then. Nothing that was typed elsewhere on the page is lost.
// @ts-check

const box = document.getElementById("hold");
const left = document.getElementById("hold-left");
const warning = document.getElementById("hold-warning");

const ASK_EVERY = 3000;
// An open page tells the server so: nobody is written to who is still here.
const HERE_EVERY = 60000;

/** @param {number} seconds */
function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}

/** @param {HTMLElement} hold @param {HTMLElement} time @param {HTMLElement} notice */
function run(hold, time, notice) {
  const { statusUrl = "", orderUrl = "", warnSeconds = "120" } = hold.dataset;
  let end = 0;
  let warned = false;
  let paying = false;
  let timer = 0;
  let asked = performance.now();
  document.addEventListener("tmt:paying", (event) => {
    paying = event instanceof CustomEvent && event.detail.busy === true;
  });

  /**
   * The buyer's own clock may be wrong: only the span between two of the server's times counts.
   * @param {string} expiresAt @param {string} now
   */
  function setEnd(expiresAt, now) {
    end = performance.now() + Date.parse(expiresAt) - (now ? Date.parse(now) : Date.now());
    warned = false;
  }

  /** The page is left once the server says that the hold has ended; a payment is not cut off. */
  async function ask() {
    asked = performance.now();
    try {
      const answer = await fetch(statusUrl, { headers: { Accept: "application/json" } });
      const { status, expires_at: expiresAt, now } = await answer.json();
      if (status && status !== "held" && !paying) {
        location.replace(orderUrl);
        return;
      }
      if (expiresAt) setEnd(expiresAt, now);
    } catch (error) {
      // No network now; the next try may have it.
    }
    clearTimeout(timer);
    timer = setTimeout(tick, end > performance.now() ? 0 : ASK_EVERY);
  }

  /** Announced once, not with each tick. @param {string | undefined} words */
  function say(words) {
    if (notice.textContent !== (words || "")) notice.textContent = words || "";
  }

  function tick() {
    const seconds = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    time.textContent = clock(seconds);
    hold.classList.toggle("hold-soon", seconds <= Number(warnSeconds));
    if (seconds === 0) {
      say(hold.dataset.expired);
      void ask();
      return;
    }
    if (seconds > Number(warnSeconds)) say(hold.dataset.extended);
    if (seconds <= Number(warnSeconds) && !warned) {
      warned = true;
      say(hold.dataset.warning);
    }
    timer = setTimeout(tick, 250);
    const here = document.visibilityState === "visible";
    if (here && performance.now() - asked > HERE_EVERY) void ask();
  }

  hold.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement)) return;
    event.preventDefault();
    try {
      const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
      const headers = { Accept: "application/json" };
      const answer = await fetch(form.action, { method: "POST", headers, body });
      const { expires_at: expiresAt, now, message, warning: next, more } = await answer.json();
      if (!expiresAt) throw new Error("no time in the answer");
      Object.assign(hold.dataset, { extended: message, warning: next });
      const text = form.querySelector("span");
      if (text) text.textContent = more;
      if (!more) {
        form.remove();
        hold.tabIndex = -1;
        hold.focus();
      }
      clearTimeout(timer);
      setEnd(expiresAt, now);
      tick();
    } catch (error) {
      // The server knows better than this page: its own answer says why.
      form.submit();
    }
  });

  // A sleeping phone stops all clocks, and another tab may have got more time.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void ask();
  });
  setEnd(hold.dataset.expiresAt || "", hold.dataset.now || "");
  tick();
}

if (box && left && warning) run(box, left, warning);
