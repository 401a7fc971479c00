package store

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// dump returns the file of s as lines of quoted names, "bucket" "key" = "value".
func dump(t *testing.T, s *Store) []string {
	t.Helper()
	db, err := bolt.Open(s.Path(), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var lines []string
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return walk(b, strconv.Quote(string(name)), &lines)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func walk(b *bolt.Bucket, path string, lines *[]string) error {
	return b.ForEach(func(k, v []byte) error {
		at := path + " " + strconv.Quote(string(k))
		if v == nil {
			return walk(b.Bucket(k), at, lines)
		}
		*lines = append(*lines, at+" = "+strconv.Quote(string(v)))
		return nil
	})
}

// load makes the file of s from a dump.
func load(t *testing.T, s *Store, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(s.Path(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		for line := range strings.Lines(string(text)) {
			names := unquote(t, line)
			b, err := tx.CreateBucketIfNotExists(names[0])
			for _, name := range names[1 : len(names)-2] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists(name)
				}
			}
			if err == nil {
				err = b.Put(names[len(names)-2], names[len(names)-1])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unquote returns the quoted words of a line, the value last.
func unquote(t *testing.T, line string) [][]byte {
	t.Helper()
	var words [][]byte
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " =") {
		q, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		word, _ := strconv.Unquote(q)
		words, line = append(words, []byte(word)), line[len(q):]
	}
	return words
}

// TestFixtureOfTodayIsWhatIsWritten fails when the layout changed without a new
// schema.
func TestFixtureOfTodayIsWhatIsWritten(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	text, err := os.ReadFile(fmt.Sprintf("testdata/schema-%d.txt", newest()))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	if d := cmp.Diff(want, dump(t, s)); d != "" {
		t.Errorf("the layout changed: make a migration and a fixture of the new schema (want - got +):\n%s", d)
	}
}

// TestDrawingIsTheLayout compares docs/STATE.md with a file that holds one of
// everything, and its field lists with the record types.
func TestDrawingIsTheLayout(t *testing.T) {
	text, err := os.ReadFile("../docs/STATE.md")
	if err != nil {
		t.Fatal(err)
	}
	s := New(t.TempDir())
	update(t, s, fill)
	drawing := drawn(t, string(text), "```layout\n")
	if d := cmp.Diff(drawing, draw(t, s)); d != "" {
		t.Errorf("docs/STATE.md draws another layout (docs - code +):\n%s", d)
	}
	if want := fmt.Sprintf("This is schema %d.", newest()); !strings.Contains(string(text), want) {
		t.Errorf("docs/STATE.md does not say %q", want)
	}
	for name, v := range map[string]any{"machine": Machine{}, "netns": Netns{}, "lease": Lease{}} {
		var fields []string
		for line := range strings.SplitSeq(drawn(t, string(text), "### "+name+"\n\n| field | meaning |\n|---|---|\n"), "\n") {
			if cells := strings.Split(line, "`"); len(cells) > 1 {
				fields = append(fields, cells[1])
			}
		}
		if d := cmp.Diff(fields, jsonNames(reflect.TypeOf(v), "")); d != "" {
			t.Errorf("docs/STATE.md lists other fields of a %s (docs - code +):\n%s", name, d)
		}
	}
}

// drawn returns what stands in text between head and the next empty line or
// fence.
func drawn(t *testing.T, text, head string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, head)
	if !ok {
		t.Fatalf("docs/STATE.md has no %q", head)
	}
	for _, end := range []string{"\n```", "\n\n"} {
		if i := strings.Index(rest, end); i >= 0 {
			rest = rest[:i]
		}
	}
	return strings.TrimSpace(rest)
}

// draw returns the buckets and keys of s as a tree, what varies in brackets.
func draw(t *testing.T, s *Store) string {
	t.Helper()
	_, leased, cooling, foreign, _ := full()
	names := map[string]string{
		"web": "<name>", "blue": "<name>", string(leased.Space): "local/<boot>/<cookie>",
		cidKey(42): "<cid, uint32 big-endian>", cidKey(7): "<cid, uint32 big-endian>", cidKey(300): "<cid, uint32 big-endian>",
		cidKey(500): "<cid, uint32 big-endian>", "db": "<name>",
		timeKey(cooling.Freed) + cidKey(7): "<time, ns since 1970, uint64 big-endian><cid>", timeKey(foreign.Seen) + cidKey(300): "<time, ns since 1970, uint64 big-endian><cid>",
	}
	var tree []string
	seen := map[string]bool{}
	for _, line := range dump(t, s) {
		path := ""
		words := unquote(t, line)
		for depth, word := range words[:len(words)-1] {
			name := string(word)
			if n, ok := names[name]; ok {
				name = n
			}
			path += "/" + name
			if !seen[path] {
				seen[path] = true
				tree = append(tree, strings.Repeat("  ", depth)+name)
			}
		}
	}
	return strings.Join(tree, "\n")
}

// jsonNames returns the JSON names of t's fields, those of structs of our own
// included, as "netns.ref".
func jsonNames(t reflect.Type, prefix string) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, prefix+name)
		if f.Type == reflect.TypeFor[NetnsRef]() {
			names = append(names, jsonNames(f.Type, prefix+name+".")...)
		}
	}
	return names
}
