"""How the page looks, and the few lines that move its sliders: each one block, named by its digest in the policy."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root { color-scheme: light dark; --paper: #f6f5f1; --card: #fff; --ink: #20262b; --soft: #616b73; --line: #e4e1da;
  --wash: #efede7; --accent: #2d6e8e; --good: #4a8a68; --bad: #b5493d; --warn: #b47b1c; --rest: #cfcbc2;
  --read: #7fa7b8; --decode: #4f8aa5; --wait: #d8d2c4; --infer: #2d6e8e; --encode: #8a9f6a; --write: #b9a262; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --card: #1c2125; --ink: #e6e4df; --soft: #99a3ab;
  --line: #2d343a; --wash: #242a2f; --accent: #74b4d2; --good: #77b994; --bad: #e0796c; --warn: #d9a854;
  --rest: #434b52; --read: #5f8596; --decode: #7db3ca; --wait: #4a5157; --infer: #74b4d2; --encode: #9db57a;
  --write: #cdb675; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1180px; margin: 0 auto; padding: 2.5rem 1.25rem 3rem; }
header { margin-bottom: 1.75rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; margin: .15rem 0 .5rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.06rem; font-weight: 650; margin: 0 0 .9rem; }
h3 { font-size: .92rem; font-weight: 600; margin: 1.25rem 0 .5rem; }
p { margin: .35rem 0; } .soft, figcaption, th, dt { color: var(--soft); }
.over { font-size: .78rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); }
.path { font: .86rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
.chip { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-size: .82rem; font-weight: 600;
  background: var(--wash); color: var(--soft); vertical-align: .2em; margin-left: .4rem; white-space: nowrap; }
.chip.good { color: var(--good); } .chip.bad { color: var(--bad); } .chip.warn { color: var(--warn); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem;
  margin: 0 0 1.1rem; min-width: 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 0 1.1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(135px, 1fr)); gap: 1rem 1.25rem; margin: 0; }
.tiles div { min-width: 0; } .tiles dt { font-size: .82rem; } .tiles dd { margin: 0; font-size: 1.5rem;
  font-weight: 600; letter-spacing: -.01em; font-variant-numeric: tabular-nums; line-height: 1.25; }
.tiles small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.bad dd { color: var(--bad); } .warn dd { color: var(--warn); }
svg { display: block; width: 100%; } .bar { height: 10px; border-radius: 5px; margin: 1.1rem 0 .4rem; }
.bar.thin { height: 6px; border-radius: 3px; margin: .25rem 0; } .bars { height: 130px; }
.bars rect { fill: var(--accent); } .bars .ground { fill: var(--line); } .bars .beyond { fill: var(--bad); }
.good-fill { fill: var(--good); } .bad-fill { fill: var(--bad); } .rest-fill { fill: var(--rest); }
.read { fill: var(--read); background: var(--read); } .decode { fill: var(--decode); background: var(--decode); }
.wait { fill: var(--wait); background: var(--wait); } .infer { fill: var(--infer); background: var(--infer); }
.encode { fill: var(--encode); background: var(--encode); } .write { fill: var(--write); background: var(--write); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem; margin-right: .5rem; }
td:has(.key) { padding-left: 1.2rem; text-indent: -1.2rem; }
.axis { display: flex; justify-content: space-between; gap: 1rem; font-size: .8rem; color: var(--soft);
  font-variant-numeric: tabular-nums; margin-top: .3rem; }
figure { margin: 0; } figcaption { font-size: .84rem; margin-top: .5rem; } figure + .scroll { margin-top: 1rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { font-weight: 500; text-align: left; font-size: .82rem; } th, td { padding: .38rem .9rem .38rem 0;
  border-bottom: 1px solid var(--line); vertical-align: baseline; } tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; } .n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } td.path { min-width: 12rem; }
details { border-top: 1px solid var(--line); padding: .55rem 0; } details:first-of-type { border-top: 0; }
summary { cursor: pointer; display: flex; gap: .8rem; align-items: baseline; list-style: none; }
summary::-webkit-details-marker { display: none; } summary::before { content: "\\25B8"; color: var(--soft);
  font-size: .8rem; } details[open] > summary::before { content: "\\25BE"; } summary .n { margin-left: auto; }
details ul { margin: .4rem 0 .2rem; padding: 0; list-style: none; } details li { padding: .2rem 0 .2rem 1.3rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 1.6rem 1.25rem; }
.pairs figure { min-width: 0; } .view { position: relative; overflow: hidden; border-radius: .5rem; --cut: 50%;
  background: var(--wash); line-height: 0; cursor: ew-resize; touch-action: pan-y; user-select: none;
  -webkit-user-select: none; }
.view img { display: block; width: 100%; height: auto; pointer-events: none; }
.view .before { position: absolute; inset: 0; height: 100%; clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.view::before { content: ""; position: absolute; inset: 0 auto 0 var(--cut); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / .25); z-index: 1; pointer-events: none; }
.view::after { content: "\\2194"; position: absolute; top: 50%; left: var(--cut); width: 34px; height: 34px;
  margin: -17px 0 0 -17px; border-radius: 50%; background: #fff; color: #20262b; font: 18px/34px system-ui, sans-serif;
  text-align: center; box-shadow: 0 1px 5px rgb(0 0 0 / .4); z-index: 1; pointer-events: none; }
.view:focus-within::after { outline: 3px solid var(--accent); outline-offset: 2px; }
.view input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; pointer-events: none; }
.tag { position: absolute; bottom: .5rem; padding: .15rem .5rem; border-radius: .3rem; font-size: .75rem;
  line-height: 1.3; background: rgb(0 0 0 / .55); color: #fff; pointer-events: none; z-index: 1; }
.tag.left { left: .5rem; } .tag.right { right: .5rem; }
.pairs figcaption b { color: var(--ink); font-weight: 600; display: block;
  overflow-wrap: anywhere; } .suspect { color: var(--warn); font-weight: 600; }
.notice { border: 1px dashed var(--line); border-radius: .5rem; padding: 1.2rem; color: var(--soft);
  overflow-wrap: anywhere; font-size: .88rem; min-height: 8rem; }
footer { color: var(--soft); font-size: .84rem; padding: .3rem .2rem; }
@media (max-width: 560px) { main { padding: 1.4rem .8rem 2rem; } section { padding: 1rem; border-radius: .6rem; }
  h1 { font-size: 1.4rem; } table { font-size: .84rem; } th, td { padding-right: .6rem; }
  td.path { min-width: 5.5rem; font-size: .76rem; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles dd { font-size: 1.25rem; } }
"""
SCRIPT = """
for (const view of document.querySelectorAll(".view")) {
  const range = view.querySelector("input");
  const show = () => view.style.setProperty("--cut", range.value + "%");
  let begun = null;
  const follow = (event) => {
    const box = view.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  const isAcross = (event) => Math.abs(event.clientX - begun.clientX) > Math.abs(event.clientY - begun.clientY);
  range.addEventListener("input", show);
  view.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    begun = event.pointerType === "mouse" ? "drags" : event;
    view.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    if (begun === "drags") follow(event);
  });
  view.addEventListener("pointermove", (event) => {
    if (begun && begun !== "drags" && isAcross(event)) begun = "drags";
    if (begun === "drags") follow(event);
  });
  view.addEventListener("pointerup", (event) => { if (begun) follow(event); });
  view.addEventListener("lostpointercapture", () => { begun = null; });
  view.addEventListener("mousedown", (event) => event.preventDefault());
  show();
}
"""
"""The slider is the range's value, which keys move; mouse, pen and finger move it from anywhere on the picture, for a
touch reaches a range by its thumb alone in some browsers. A finger that begins to scroll moves nothing."""


def _named(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; img-src data:; style-src {_named(STYLE)}; script-src {_named(SCRIPT)}; "
    "base-uri 'none'; form-action 'none'"
)
"""so that no name, however it is written, makes a browser run, fetch or send anything"""
