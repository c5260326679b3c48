"""Sources in encodings from before Unicode are shown as what they are, and keep their bytes."""

from __future__ import annotations

import os

import pytest

from laguna_agent.tools.files.encoding import decode
from support.toolbox import Toolbox

COMMENTS = {
    "gbk": [
        "计算两个数的和",
        "错误",
        "这个函数用来处理网络请求，如果失败就重试三次",
        "作者：张三",
        "日期",
    ],
    "big5": [
        "計算兩個數的和",
        "錯誤",
        "這個函數用來處理網路請求，如果失敗就重試三次",
        "取得目前時間",
    ],
    "shift_jis": [
        "二つの数の和を計算する",
        "エラー",
        "表示",
        "ユーザー名を返す",
        "作成者：山田太郎",
    ],
    "euc_kr": ["두 수의 합을 계산한다", "오류", "파일이 없습니다", "작성자: 홍길동", "테스트"],
    "euc_jp": ["二つの数の和を計算する", "エラー", "設定ファイルを読み込む"],
    "cp1251": ["Вычислить сумму двух чисел", "Ошибка"],
    "koi8_r": ["Вычислить сумму двух чисел", "Вернуть имя пользователя"],
}
SHOWN = {
    "gbk": "GBK",
    "big5": "Big5",
    "shift_jis": "Shift-JIS",
    "euc_kr": "EUC-KR",
    "euc_jp": "EUC-JP",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
}
CASES = [(encoding, text) for encoding, texts in COMMENTS.items() for text in texts]
WESTERN = """
Größe Änderung Übersicht Öffnen für können Maßstab Ärger déjà créé été École naïf reçu ñandú año
señor corazón función línea página está ação não são opções você código último över får åtgärd Åsa
Örebro Ærlig København perché città però più çocuk [A-Za-zÄÖÜäöüß] ÅÄÖåäö Füße ÄÖÜ £5 20°C «oui»
"""
WORDS = WESTERN.split()


def source(text: str) -> str:
    return f"# {text}\r\nx = 1\r\nprint('{text}', x)\r\n"


@pytest.mark.parametrize(("encoding", "text"), CASES)
async def test_a_source_is_shown_edited_and_searched_as_what_it_is(
    box: Toolbox, encoding: str, text: str
) -> None:
    data = source(text).encode(encoding)
    box.add({"a.py": data, "u.py": f"# {text}\n"})
    shown = await box.call("read", path="a.py")
    assert shown.content.startswith(f"({SHOWN[encoding]}, CRLF)\n1\t# {text}\n2\tx = 1\n")
    for pattern in ("print", text):
        found = await box.call("search", pattern=pattern)
        assert f"3: print('{text}', x)" in found.content
    assert f"u.py:\n1: # {text}" in found.content
    assert (await box.call("edit", path="a.py", old="x = 1", new=f"x = 2  # {text}")).ok
    changed = source(text).replace("x = 1", f"x = 2  # {text}").encode(encoding)
    assert box.data("a.py") == changed
    result = await box.call("edit", path="a.py", old="x = 2", new="x = 3  # 😀")
    assert not result.ok
    assert f"the file is {SHOWN[encoding]}, CRLF and cannot represent '😀'" in result.content
    assert box.data("a.py") == changed
    assert (await box.call("write", path="a.py", content=f"# {text}\ny = 1\n")).ok
    assert box.data("a.py") == f"# {text}\r\ny = 1\r\n".encode(encoding)


@pytest.mark.parametrize("text", [*WORDS, WESTERN])
def test_western_text_is_not_taken_for_another(text: str) -> None:
    for data in (text.encode("latin-1"), source(text).encode("latin-1")):
        document = decode(data)
        assert document is not None
        assert document.encoding == "latin-1"
        assert document.encode() == data


@pytest.mark.parametrize("encoding", [*COMMENTS, "latin-1"])
async def test_a_search_over_lines_reads_old_encodings_too(box: Toolbox, encoding: str) -> None:
    text = COMMENTS.get(encoding, ["größer"])[0]
    box.add({"a.py": source(text).encode(encoding)})
    result = await box.call("search", pattern=rf"{text}\nx = 1")
    assert f"1: # {text}\n2: x = 1" in result.content


async def test_a_western_word_is_found_in_both_encodings(box: Toolbox) -> None:
    box.add(
        {"a.txt": "grün – é\n".encode("cp1252"), "b.txt": "grün\n", "c.txt": "gr\xfcn".encode()}
    )
    result = await box.call("search", pattern="grün", mode="count")
    assert result.content.startswith("3 matches in 3 files")


def test_whatever_the_bytes_are_they_come_back() -> None:
    for length in (1, 2, 3, 50, 7_000):
        for _ in range(30):
            data = os.urandom(length).translate(None, bytes(range(32))) + b"\xff\n"
            document = decode(data)
            assert document is None or document.encode() == data
