// Package plain judges text that others wrote: whether what a person sees is what a program reads.
//
// Text hides something when it has characters that show as nothing, reorder what stands around them, or
// steer a terminal. Configuration with such characters is refused (Find), other text shows them as marks
// (Show, Line), and names have none of them (Mixed finds letters that only look like others).
//
// Count writes what every sentence with a number needs.
//
// Deliberately absent: what a text means, and how it is laid out.
package plain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden reports whether a character shows as nothing, reorders its neighbours or steers a terminal. Tab and
// line feed are layout, so they are not.
func Hidden(c rune) bool {
	switch {
	case c == '\t' || c == '\n':
		return false
	case c < utf8.RuneSelf:
		return c < ' ' || c == 0x7f
	case strings.ContainsRune(blanks, c):
		return true
	}
	return unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Noncharacter_Code_Point,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// blanks are drawn as nothing, though Unicode counts them as letters and symbols: one of Braille, of Khitan, of
// music, and two of hieroglyphs.
const blanks = "\u2800\U00016fe4\U0001d159\U00013441\U00013442"

const (
	braille   = '\u2800'
	nonJoiner = '\u200c'
	joiner    = '\u200d'
	asText    = '\ufe0e' // the two selectors that people type with an emoji
	asEmoji   = '\ufe0f'
	byteOrder = '\ufeff'
)

// belongs reports whether a hidden character is part of how its neighbours are written: the joiner in an emoji
// of several, a selector after a symbol, a joiner inside a word of a script that needs it, a blank between letters of
// Braille.
func belongs(before, c, after rune) bool {
	switch c {
	case braille:
		return before != braille && unicode.Is(unicode.Braille, before) && after != braille && unicode.Is(unicode.Braille, after)
	case asText, asEmoji:
		return unicode.In(before, unicode.So, unicode.Sm, unicode.Po, unicode.Nd) && before != 0
	case joiner, nonJoiner:
		if c == joiner && unicode.In(before, unicode.So, unicode.Sk, unicode.Variation_Selector) && unicode.In(after, unicode.So, unicode.Sm) {
			return true
		}
		return joins(before) && (joins(after) || c == nonJoiner && after == ' ')
	}
	return false
}

// joins reports whether the script of a letter has joiners in ordinary words.
func joins(c rune) bool {
	return unicode.In(c, unicode.L, unicode.M) && unicode.In(c, unicode.Arabic, unicode.Syriac, unicode.Mongolian,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil,
		unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Tibetan, unicode.Myanmar)
}

// Spot is where a text hides something.
type Spot struct {
	Line   int // from 1
	Column int // in characters, from 1
	What   string
}

// Find returns the first place where the text is not UTF-8 or hides something. Line ends of any editor are
// fine, and so is a byte order mark at the very start.
func Find(text []byte) (Spot, bool) {
	at := Spot{Line: 1, Column: 1}
	for i, before := 0, rune(0); i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		after, _ := utf8.DecodeRune(text[i+n:])
		switch {
		case c == utf8.RuneError && n == 1:
			at.What = fmt.Sprintf("the byte 0x%02X is not UTF-8", text[i])
			return at, true
		case !Hidden(c) || c == '\r' && after == '\n' || c == byteOrder && i == 0 || belongs(before, c, after):
		default:
			at.What = fmt.Sprintf("the character U+%04X (%s) is not shown, so that people read something else than programs do", c, name(c))
			return at, true
		}
		at.Column++
		if c == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
		i, before = i+n, c
	}
	return Spot{}, false
}

// name says what kind of character it is.
func name(c rune) string {
	switch {
	case c == 0:
		return "NUL"
	case unicode.Is(unicode.Bidi_Control, c):
		return "it changes the direction of writing"
	case unicode.Is(unicode.Cc, c):
		return "a control character"
	}
	return "it has no width"
}

// Show returns text in which every character that hides something stands as a mark such as ⟨U+202E⟩, and
// every byte that is not UTF-8 as one such as ⟨0xE9⟩. Lines and tabs stay.
func Show(text string) string { return show(text, false) }

// Line is Show for what is one line: line ends and tabs become spaces.
func Line(text string) string { return show(text, true) }

func show(text string, line bool) string {
	if clean(text, line) {
		return text
	}
	var out strings.Builder
	for i, before := 0, rune(0); i < len(text); {
		c, n := utf8.DecodeRuneInString(text[i:])
		after, _ := utf8.DecodeRuneInString(text[i+n:])
		switch {
		case c == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, "⟨0x%02X⟩", text[i])
		case line && (c == '\n' || c == '\t'):
			out.WriteByte(' ')
		case c == '\r' && after == '\n':
			if !line {
				out.WriteByte('\r')
			}
		case Hidden(c) && !belongs(before, c, after):
			fmt.Fprintf(&out, "⟨U+%04X⟩", c)
		default:
			out.WriteString(text[i : i+n])
		}
		i, before = i+n, c
	}
	return out.String()
}

// clean reports whether there is nothing to mark, which is so for nearly every text.
func clean(text string, line bool) bool {
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || c < ' ' && (line || c != '\n' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}

// Mixed returns a word of the text whose letters are of scripts that look alike, such as a Cyrillic а among
// Latin letters. Digits are part of a word.
func Mixed(text string) (word string, mixed bool) {
	for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return !unicode.In(c, unicode.L, unicode.M, unicode.Nd) }) {
		scripts := 0
		for _, script := range alike {
			if strings.ContainsFunc(word, func(c rune) bool { return unicode.Is(script, c) }) {
				scripts++
			}
		}
		if scripts > 1 {
			return word, true
		}
	}
	return "", false
}

// alike are the scripts with letters that are drawn like those of another one of them.
var alike = []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Georgian, unicode.Lisu, unicode.Deseret, unicode.Osage, unicode.Tifinagh, unicode.Old_Italic, unicode.Gothic}
