"""A map in the browser: the view, its computation, the server and the page. Public: `olsbn.explore`.

- `view`: what is shown, as data; to and from a link, to TOML and to lines of Python.
- `computing`, `cell`, `shown`: the numbers of a view, of one cell, and what becomes of them on the page.
- `controls`, `tour`: what may be chosen, and the five stops of a lecture.
- `server`, `saving`, `notebook`: one page, a web socket for each tab, and what a tab saves.
- `page/`: HTML, CSS and JavaScript as they are served.
"""
