"""How the report's page looks."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.6em; margin: .3em 0 .6em; } h2 { margin: 1.6em 0 .4em; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr)); gap: 12px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card h3 { margin: 0; font-size: .9em; font-weight: 600; opacity: .8; }
.card p { margin: .2em 0; font-size: .9em; } .card .big { font-size: 1.35em; font-weight: 650; }
.note { font-size: .85em; opacity: .8; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 20px; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: .95em; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; } .grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: .2em 0; font-size: .85em; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: middle; }
.lead { font-size: 1.1em; max-width: 60em; }
.wide { overflow-x: auto; background: linear-gradient(to left, Canvas 40%, transparent) right / 48px 100% no-repeat local,
  linear-gradient(to left, #8887, transparent) right / 16px 100% no-repeat scroll; }
.wide td:nth-child(2) { min-width: 7em; } table { border-collapse: collapse; font-size: .9em; width: 100%; }
th, td { text-align: left; padding: 4px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { background: var(--soft); }
.sample { margin: 0 0 18px; table-layout: fixed; } .sample caption { text-align: left; opacity: .7; }
.sample th { width: 9.5em; font-weight: 500; } .sample td { overflow-wrap: anywhere; }
.choice { margin: -10px 0 18px; font-size: .9em; } .choice table { width: auto; } .choice td { white-space: nowrap; text-align: center; }
.choice .taken { font-weight: 650; }  .choice small { display: block; opacity: .75; }
mark { background: #f6c344; color: #000; border-radius: 3px; } u { text-decoration: underline wavy #c4570a; }
pre { overflow-x: auto; background: var(--soft); padding: 10px; font-size: .8em; }
@media (min-width: 900px) { .cards { grid-template-columns: repeat(3, 1fr); } }
@media (max-width: 520px) { body { font-size: 15px; } .sample th { width: 6.5em; } th, td { padding: 4px 6px; } }
"""
