"""The look of a report: system fonts, one measure of text, figures a little wider."""

STYLESHEET = """
:root { --ink: #1f2933; --soft: #52606d; --rule: #d9dee4; --tint: #f5f7f9; --link: #0b5c94; }
* { box-sizing: border-box; }
html { font-size: 16px; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; color: var(--ink); background: #fff; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
    "Liberation Sans", "DejaVu Sans", Arial, sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1.15rem; font-weight: 600; color: var(--soft); margin: 0 0 .6rem; }
.answer { font-size: 1.45rem; line-height: 1.38; font-weight: 600; margin: 0 0 1.4rem;
  max-width: 50rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: .7rem 0; font-size: .92rem;
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .8rem; }
p { margin: 0 0 1rem; max-width: 46rem; }
code { font-size: .9em; background: var(--tint); padding: .08em .3em; border-radius: 3px;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
sub { line-height: 0; font-size: .75em; }
figure { margin: 1.6rem 0 2rem; }
figure svg { width: 100%; height: auto; display: block; }
figure.single svg { max-width: 36rem; }
figcaption { font-size: .92rem; color: var(--soft); max-width: 46rem; margin-top: .5rem; }
.table { overflow-x: auto; margin: 1.4rem 0 .5rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .34rem .75rem; text-align: right; vertical-align: top; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; font-weight: 600; color: var(--soft);
  border-bottom: 1.5px solid var(--ink); }
thead tr.groups th { border-bottom: 1px solid var(--rule); text-align: center; color: var(--ink); }
tbody tr { border-bottom: 1px solid var(--rule); }
tbody tr:hover { background: var(--tint); }
.words { text-align: left; white-space: normal; min-width: 7rem; }
td.words:last-child { min-width: 18rem; }
.yes, .no { display: inline-block; width: 1.3em; font-weight: 700; }
.yes { color: #00694c; } .no { color: #b03a00; }
.note { font-size: .88rem; color: var(--soft); }
.formula { display: flex; flex-wrap: wrap; align-items: baseline; gap: .2rem 1.5rem;
  padding: .55rem 0; border-bottom: 1px solid var(--rule); }
.formula .about { flex: 0 0 13rem; color: var(--soft); font-size: .95rem; }
.formula .law { flex: 1 1 24rem; overflow-x: auto; }
math { font-size: 1.15rem; font-family: "STIX Two Math", "Latin Modern Math", "Cambria Math",
  "Libertinus Math", "DejaVu Math TeX Gyre", math; }
math[display="block"] { text-align: left; margin: .1rem 0; display: inline math; }
/* Room above a letter for its dot, and around a sum for its limits, also without a font that has
   mathematical metrics. */
mover[accent="true"] > :nth-child(2) { padding-bottom: .15em; }
munderover > :nth-child(2) { padding-top: .18em; }
munderover > :nth-child(3) { padding-bottom: .22em; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--link); font-weight: 600; }
details[open] summary { margin-bottom: .6rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; font-size: .92rem;
  margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { nav, details:not([open]) { display: none; } main { padding: 0; } }
"""
