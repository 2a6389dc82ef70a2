// Refreshes the page without losing the place, and moves in the grid with the arrow keys.
const EVERY_MS = 5000;
const TIMEOUT_MS = 10000;
const REASONS = {
  200: "another server answers at this address.",
  403: "this page's token is no longer valid; reload the page to enter the new one.",
  500: "something went wrong in this page; see the error in the terminal where it was started.",
};
const state = document.getElementById("refresh");
const pause = document.getElementById("pause");
const readAt = document.getElementById("read-at");
let main = document.getElementById("main");
let version = null;
let paused = false;
let timer = null;
let underWay = null; // the AbortController of the question that waits for its answer, if any

// -- refreshing ----------------------------------------------------------------------------------

async function refresh() {
  stop();
  if (paused) {
    return;
  }
  if (document.hidden || isSelecting()) {
    refreshLater();
    return;
  }
  const mine = new AbortController();
  underWay = mine;
  const answer = await ask(mine);
  if (underWay !== mine) {
    return; // paused since then, or asked again: that answer is the newer one
  }
  refreshLater();
  show(answer);
}

function refreshLater() {
  timer = setTimeout(refresh, EVERY_MS);
}

function stop() {
  clearTimeout(timer);
  underWay?.abort();
  underWay = null;
}

// What the server answers; null if it does not, or not in time.
async function ask(controller) {
  const timeout = setTimeout(() => controller.abort(), TIMEOUT_MS);
  try {
    const headers = version ? { "If-None-Match": version } : {};
    const options = { headers, cache: "no-store", signal: controller.signal };
    const answer = await fetch(location.pathname + location.search, options);
    return { status: answer.status, headers: answer.headers, html: await answer.text() };
  } catch {
    return null;
  } finally {
    clearTimeout(timeout);
  }
}

function show(answer) {
  if (!answer) {
    say("Not refreshed: the server does not answer.", true);
  } else if (answer.status === 200 && answer.headers.has("X-Read-At")) {
    if (isSelecting()) {
      return; // since the question was sent
    }
    replaceMain(parsed(answer.html));
    version = answer.headers.get("ETag");
    showAsRead(answer.headers.get("X-Read-At"));
  } else if (answer.status === 304) {
    showAsRead(answer.headers.get("X-Read-At"));
  } else {
    const problem = parsed(answer.html).querySelector(".problem");
    const why = REASONS[answer.status] || problem?.textContent || `the server answers ${answer.status}.`;
    say(`Not refreshed: ${why}`, true);
  }
}

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

// `at` is in the format of RFC 3339; it is shown like every time on the page.
function showAsRead(at) {
  readAt.dateTime = at;
  readAt.textContent = `${at.slice(0, 19).replace("T", " ")} UTC`;
  say("");
}

function replaceMain(fresh) {
  const focused = placeOf(document.activeElement);
  const stops = [...document.querySelectorAll(".grid tbody")].map(stopOf).filter(Boolean).map(placeOf);
  const scrolled = [...main.querySelectorAll("pre")].map((one) => one.scrollLeft);
  const replacement = document.adoptNode(fresh.getElementById("main"));
  main.replaceWith(replacement);
  main = replacement;
  document.title = fresh.title;
  [...main.querySelectorAll("pre")].forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  markTarget();
  prepareGrids(stops.map(elementAt));
  if (focused) {
    (elementAt(focused) || main).focus({ preventScroll: true });
  }
}

// Whether somebody is selecting text, to copy a command or an error.
function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(main, true);
}

// Where an element is, to find it again after a refresh: the address of a link says more than its
// place, which may have moved.
function placeOf(element) {
  if (!main.contains(element)) {
    return null;
  }
  const { href } = element;
  const among = element.closest(".grid tbody") ? ".grid tbody a" : "a";
  const steps = [];
  for (let one = element; one !== main; one = one.parentElement) {
    steps.unshift([...one.parentElement.children].indexOf(one));
  }
  return { href, among, nth: linksTo(href, among).indexOf(element), steps };
}

function linksTo(href, among) {
  return [...main.querySelectorAll(among)].filter((a) => a.href === href);
}

function elementAt(place) {
  if (place.href) {
    const same = linksTo(place.href, place.among);
    if (same.length) {
      return same[Math.min(place.nth, same.length - 1)];
    }
  }
  return place.steps.reduce((one, step) => one && one.children[step], main);
}

// The browser's own `:target` is lost when the element is replaced.
function markTarget() {
  document.querySelectorAll(".target").forEach((one) => one.classList.remove("target"));
  document.getElementById(location.hash.slice(1))?.classList.add("target");
}

// Only what changes is said, so that a screen reader does not speak at every refresh.
function say(text, stale = false) {
  if (state.textContent !== text) {
    state.textContent = text;
    state.classList.toggle("stale", stale);
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  say(paused ? "Paused" : "");
  refresh();
});
document.addEventListener("visibilitychange", refresh);
addEventListener("hashchange", markTarget);
markTarget();
refreshLater();

// -- moving in the grid --------------------------------------------------------------------------

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// One stop of the Tab key for each grid: thousands of marks would be as many stops. It is one of
// `kept`, or the first link that can be seen: a narrow window hides the older days.
function prepareGrids(kept = []) {
  for (const grid of document.querySelectorAll(".grid tbody")) {
    const links = [...grid.querySelectorAll("a")];
    const stop = kept.find((a) => links.includes(a) && isShown(a)) || links.find(isShown);
    links.forEach((a) => { a.tabIndex = a === stop ? 0 : -1; });
  }
}

// Where the Tab key enters the grid, if that is not the first link anyway.
function stopOf(grid) {
  const stop = grid.querySelector('a[tabindex="0"]');
  return stop === [...grid.querySelectorAll("a")].find(isShown) ? null : stop;
}

function isShown(link) {
  return link.offsetParent !== null;
}

function rowsOf(grid) {
  return [...grid.rows].map((row) => [...row.querySelectorAll("a")].filter(isShown));
}

document.addEventListener("keydown", (event) => {
  const link = event.target.closest && event.target.closest(".grid tbody a");
  const step = STEPS[event.key];
  if (!link || !step || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const rows = rowsOf(link.closest("tbody"));
  const row = rows.findIndex((one) => one.includes(link));
  const target = step[0] ? inRow(rows, row + step[0], step[0], link) : rows[row][rows[row].indexOf(link) + step[1]];
  if (target) {
    event.preventDefault();
    target.focus();
  }
});

// The nearest link of the next row that has any.
function inRow(rows, at, by, from) {
  while (rows[at] && !rows[at].length) {
    at += by;
  }
  const left = from.getBoundingClientRect().left;
  const distance = (a) => Math.abs(a.getBoundingClientRect().left - left);
  return rows[at] && rows[at].reduce((best, a) => (distance(a) < distance(best) ? a : best));
}

document.addEventListener("focusin", (event) => {
  const link = event.target.closest && event.target.closest(".grid tbody a");
  if (link) {
    link.closest("tbody").querySelectorAll("a").forEach((a) => { a.tabIndex = a === link ? 0 : -1; });
  }
});

addEventListener("resize", () => prepareGrids([...document.querySelectorAll('.grid a[tabindex="0"]')]));
prepareGrids();
