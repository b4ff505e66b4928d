package plain

import "testing"

func TestTextThatHidesSomethingIsFoundWhereItIs(t *testing.T) {
	for text, want := range map[string]Spot{
		"a = 1\n# \x00":          {Line: 2, Column: 3},
		"x\u202e":                {Line: 1, Column: 2},
		"ä\u2066b":               {Line: 1, Column: 2},
		"a\n\nb\u200bc":          {Line: 3, Column: 2},
		"a\ufeffb":               {Line: 1, Column: 2},
		"pass\u00adword":         {Line: 1, Column: 5},
		"a\u2028b":               {Line: 1, Column: 2},
		"\x1b[8m":                {Line: 1, Column: 1},
		"a\rb":                   {Line: 1, Column: 2},
		"caf\xe9":                {Line: 1, Column: 4},
		"\U000e0041":             {Line: 1, Column: 1},
		"a\u200db":               {Line: 1, Column: 2},
		"a\ufe0f":                {Line: 1, Column: 2},
		"\u3164 = 1":             {Line: 1, Column: 1},
		"a\u0085b":               {Line: 1, Column: 2},
		"main\u2800":             {Line: 1, Column: 5},
		"\u2813\u2800":           {Line: 1, Column: 2},
		"a\U0001d159b":           {Line: 1, Column: 2},
		"\U00016fe4":             {Line: 1, Column: 1},
		"a\u034fb":               {Line: 1, Column: 2},
		"a\U000e0100":            {Line: 1, Column: 2},
		"\u115f = 1":             {Line: 1, Column: 1},
		"variable \"a\u200c\" {": {Line: 1, Column: 12},
	} {
		got, found := Find([]byte(text))
		if !found || got.Line != want.Line || got.Column != want.Column || got.What == "" {
			t.Errorf("%q: found %v at %+v, want %+v", text, found, got, want)
		}
		if Show(text) == text {
			t.Errorf("%q is shown without a mark", text)
		}
	}
}

func TestOrdinaryTextOfEveryLanguageIsPlain(t *testing.T) {
	for _, text := range []string{
		"", "a\tb\n", "a\r\nb\r\n", "\ufeffa = 1\n", "größe", "検索", "Проверка", "עברית", "می\u200cخواهم", "क्\u200dष", "⚠\ufe0f careful", "👩\u200d🚀", "👩🏽\u200d🚀", "🏳\ufe0f\u200d🌈", "1\ufe0f⃣", "‼\ufe0f now", "a\u00a0b", "\u2813\u280a\u2800\u2813\u280a",
	} {
		if at, found := Find([]byte(text)); found {
			t.Errorf("%q: %+v", text, at)
		}
		if text != "a\r\nb\r\n" && text != "\ufeffa = 1\n" && Show(text) != text {
			t.Errorf("%q is shown as %q", text, Show(text))
		}
	}
}

func TestWhatIsHiddenIsShownAsAMark(t *testing.T) {
	for text, want := range map[string]string{
		"a\u202eb\tc\n": "a⟨U+202E⟩b\tc\n", "\x1b[2J": "⟨U+001B⟩[2J", "caf\xe9": "caf⟨0xE9⟩", "a\x00": "a⟨U+0000⟩", "a\rb\r\n": "a⟨U+000D⟩b\r\n", "\U000e0041": "⟨U+E0041⟩",
	} {
		if got := Show(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := Line("a\nb\tc\x1b\r\n"); got != "a b c⟨U+001B⟩ " {
		t.Errorf("as one line: %q", got)
	}
}

func TestAWordOfSeveralScriptsThatLookAlikeIsFound(t *testing.T) {
	for text, want := range map[string]string{"fix/m\u0430in": "m\u0430in", "\u03bfk-a": "\u03bfk", "a\u03bf": "a\u03bf", "app1\u0430": "app1\u0430", "v2": "", "\u0430-2x": "", "поиск-search": "", "検索page": "", "größe": ""} {
		if got, _ := Mixed(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestACountAgreesWithItsNoun(t *testing.T) {
	for n, want := range map[int]string{0: "0 test runs", 1: "1 test run", 2: "2 test runs"} {
		if got := Count(n, "test run", "test runs"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
