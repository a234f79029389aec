package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// documents yields each document of a manifest that has more than comments, with the number of lines
// before it. A document ends at a line that starts with --- or ..., as in YAML even inside of text
// blocks.
func documents(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		data = bytes.TrimPrefix(data, []byte("\uFEFF"))
		doc, lines, start, at := data, 0, 0, 0
		for at < len(data) {
			end := at + lineLen(data[at:])
			marker, rest := separator(data[at:end])
			if marker {
				if held := doc[:at-(len(data)-len(doc))]; !blank(held) && !yield(start, held) {
					return
				}
				// The rest of the marker's line belongs to the next document.
				if rest {
					doc, start = data[at:], lines
				} else {
					doc, start = data[end:], lines+1
				}
			}
			at = end
			lines++
		}
		if !blank(doc) {
			yield(start, doc)
		}
	}
}

// lineLen returns the length of the first line with its end, which is a line
// feed, a carriage return or both.
func lineLen(data []byte) int {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0:
		return len(data)
	case data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n':
		return i + 2
	}
	return i + 1
}

// separator reports whether a line separates documents, and whether its rest belongs to the next one.
func separator(line []byte) (marker, rest bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false, false
	}
	after := line[3:]
	if len(after) > 0 && !bytes.ContainsAny(after[:1], " \t\r\n") {
		return false, false
	}
	return true, line[0] == '-' && !blank(after)
}

// blank reports whether a document has only space, comments and directives.
func blank(doc []byte) bool {
	for len(doc) > 0 {
		n := lineLen(doc)
		line := bytes.TrimSpace(doc[:n])
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
		doc = doc[n:]
	}
	return true
}

// toJSON returns a document as JSON. doubles is the error about repeated keys in YAML, where the last
// one counts; in JSON the decoder finds them.
func toJSON(doc []byte) (out []byte, doubles, err error) {
	if !utf8.Valid(doc) {
		return nil, nil, errors.New("it is not UTF-8 text")
	}
	// This is faster, and the YAML parser refuses the tabs of some JSON.
	if trimmed := bytes.TrimSpace(doc); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		return trimmed, nil, nil
	}
	out, doubles = yaml.YAMLToJSONStrict(doc)
	if doubles == nil {
		return out, nil, nil
	}
	out, err = yaml.YAMLToJSON(doc)
	return out, doubles, err
}

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// absolute makes the line numbers in a message count from the start of the file.
func absolute(message string, before int) string {
	return lineNumber.ReplaceAllStringFunc(message, func(s string) string {
		n, err := strconv.Atoi(s[len("line "):])
		if err != nil {
			return s
		}
		return fmt.Sprintf("line %d", n+before)
	})
}
