package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// maxDepth bounds how deep pages and buckets may stand in each other. Each level
// more is for a hundred times the records, so no real file comes near.
const maxDepth = 64

// What a page is, and what an element of a leaf is. See internal/common of bbolt.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
	bucketLeaf   = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
)

// The parts of a bbolt file, in the order and byte order of the host.
type (
	pageHead struct {
		ID       uint64
		Flags    uint16
		Count    uint16
		Overflow uint32 // pages more
	}
	pageMeta struct {
		Magic, Version, PageSize, Flags uint32

		Root, Sequence uint64
		Freelist       uint64
		End            uint64 // the first page that is not in use yet
		Tx             uint64 // the newer of two metas is the valid one
		Checksum       uint64
	}
	branchElement struct {
		Pos, KeySize uint32 // Pos counts from the element
		ID           uint64
	}
	leafElement struct{ Flags, Pos, KeySize, ValueSize uint32 }
)

// An item is one value of the file. It is part of the content that was read.
type item struct {
	path  []string // the buckets it is in
	key   string
	value []byte
}

// A reader goes through the pages of a bbolt file. bbolt itself is no help with
// a damaged one: it follows a page that leads back to itself until the stack
// is full, and its own check runs where a fault ends the process. This one
// visits each page once, and what it can't read costs what hangs below it.
type reader struct {
	b      []byte
	meta   pageMeta
	used   map[uint64]bool // pages visited
	items  []item
	damage []error
}

// readPages returns every value that can be reached in b, the content of a bbolt
// file, and an [ErrCorrupt] for each thing that is not as bbolt leaves it.
func readPages(b []byte) ([]item, []error) {
	r := &reader{b: b, used: map[uint64]bool{0: true, 1: true}}
	if !r.findMeta() {
		return nil, append(r.damage, corrupt("file", "it has no valid meta page"))
	}
	if want := r.meta.End * uint64(r.meta.PageSize); uint64(len(b)) < want {
		r.damaged("file", "it is %d bytes, want at least %d", len(b), want)
	}
	r.tree(&bucketWalk{}, r.meta.Root, 0)
	r.freelist()
	return r.items, r.damage
}

// findMeta looks for the newer valid one of the two meta pages. The second stands
// a page behind the first, whose size is only known from a valid one.
func (r *reader) findMeta() bool {
	for _, at := range []int{0, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16} {
		var page struct {
			Head pageHead
			Meta pageMeta
		}
		n, err := binary.Decode(r.b[min(at, len(r.b)):], binary.NativeEndian, &page)
		if err != nil {
			break
		}
		head, m := page.Head, page.Meta
		h := fnv.New64a()
		_, _ = h.Write(r.b[at+binary.Size(head) : at+n-binary.Size(m.Checksum)])
		if m.Magic != boltMagic || m.Version != boltVersion || m.Checksum != h.Sum64() {
			continue // one torn by a power cut is no damage
		}
		sized := m.PageSize >= 1<<9 && m.PageSize <= 1<<16 && m.End < 1<<40 // no product below overflows
		if head.Flags != metaPage || head.ID != uint64(min(at, 1)) || at != 0 && at != int(m.PageSize) || !sized {
			r.damaged("meta page", "it says that it is page %d of kind %#x, with pages of %d bytes up to %d", head.ID, head.Flags, m.PageSize, m.End)
			continue
		}
		if m.Tx >= r.meta.Tx {
			r.meta = m
		}
	}
	return r.meta.Magic != 0
}

func (r *reader) damaged(object, format string, args ...any) {
	r.damage = append(r.damage, corrupt(object, fmt.Sprintf(format, args...)))
}

// page returns the bytes of page id, those of its overflow included, and takes
// them as used.
func (r *reader) page(id uint64) (p []byte, h pageHead, err error) {
	size := uint64(r.meta.PageSize)
	if id >= r.meta.End || (id+1)*size > uint64(len(r.b)) {
		return nil, h, errors.New("it is beyond the end of the file")
	}
	if _, err := binary.Decode(r.b[id*size:], binary.NativeEndian, &h); err != nil {
		return nil, h, err
	}
	end := id + uint64(h.Overflow) + 1
	switch {
	case h.ID != id:
		return nil, h, fmt.Errorf("it says that it is page %d", h.ID)
	case end > r.meta.End || end*size > uint64(len(r.b)):
		return nil, h, fmt.Errorf("%d pages more are beyond the end of the file", h.Overflow)
	}
	for n := id; n < end; n++ {
		if r.used[n] {
			return nil, h, fmt.Errorf("page %d is used twice", n)
		}
	}
	for n := id; n < end; n++ {
		r.used[n] = true
	}
	return r.b[id*size : end*size], h, nil
}

// A bucketWalk is the way through one bucket.
type bucketWalk struct {
	path []string
	last []byte // the last key
	leaf bool   // last is that of a value, so the next one is greater
}

func (w *bucketWalk) String() string { return "bucket /" + strings.Join(w.path, "/") }

// step notes the next key, and fails if it is not in order.
func (w *bucketWalk) step(key []byte, leaf bool) error {
	c := bytes.Compare(w.last, key)
	if c > 0 || c == 0 && w.leaf {
		return fmt.Errorf("key %q stands behind %q", key, w.last)
	}
	w.last, w.leaf = key, leaf
	return nil
}

// tree reads what hangs below page id.
func (r *reader) tree(w *bucketWalk, id uint64, depth int) {
	p, h, err := r.page(id)
	if err == nil {
		err = r.elements(w, p, h, depth)
	}
	if err != nil {
		r.damaged(w.String(), "page %d: %v", id, err)
	}
}

// elements reads what stands in p. It fails if the rest of p is not to be had.
func (r *reader) elements(w *bucketWalk, p []byte, h pageHead, depth int) error {
	if depth > maxDepth {
		return errors.New("it stands too deep")
	}
	room := uint64(len(p)) // left for keys and values: they don't share bytes
	take := func(from, size uint64) ([]byte, error) {
		if size > room || from+size > uint64(len(p)) {
			return nil, fmt.Errorf("a key or value of %d bytes reaches beyond it", size)
		}
		room -= size
		return p[from : from+size], nil
	}
	at, size := uint64(binary.Size(h)), uint64(binary.Size(leafElement{})) // a branch's has the same
	for range h.Count {
		if at+size > uint64(len(p)) {
			return fmt.Errorf("%d elements reach beyond it", h.Count)
		}
		var err error
		switch h.Flags {
		case branchPage:
			err = r.branch(w, p[at:], at, depth, take)
		case leafPage:
			err = r.leaf(w, p[at:], at, depth, take)
		default:
			err = fmt.Errorf("it is of kind %#x, want a branch or a leaf", h.Flags)
		}
		if err != nil {
			return err
		}
		at += size
	}
	return nil
}

// branch reads the element of a branch at the start of p, which is at in its
// page. take takes bytes of the page.
func (r *reader) branch(w *bucketWalk, p []byte, at uint64, depth int, take func(from, size uint64) ([]byte, error)) error {
	var e branchElement
	if _, err := binary.Decode(p, binary.NativeEndian, &e); err != nil {
		return err
	}
	key, err := take(at+uint64(e.Pos), uint64(e.KeySize))
	if err != nil {
		return err
	}
	if err := w.step(key, false); err != nil {
		r.damaged(w.String(), "%v", err)
	}
	r.tree(w, e.ID, depth+1)
	return nil
}

// leaf reads the element of a leaf in the same way.
func (r *reader) leaf(w *bucketWalk, p []byte, at uint64, depth int, take func(from, size uint64) ([]byte, error)) error {
	var e leafElement
	if _, err := binary.Decode(p, binary.NativeEndian, &e); err != nil {
		return err
	}
	key, err := take(at+uint64(e.Pos), uint64(e.KeySize))
	if err != nil {
		return err
	}
	value, err := take(at+uint64(e.Pos)+uint64(e.KeySize), uint64(e.ValueSize))
	if err != nil {
		return err
	}
	if err := w.step(key, true); err != nil {
		r.damaged(w.String(), "%v", err)
	}
	if e.Flags&bucketLeaf == 0 {
		r.items = append(r.items, item{w.path, string(key), value})
		return nil
	}
	r.bucket(&bucketWalk{path: append(slices.Clone(w.path), string(key))}, value, depth+1)
	return nil
}

// bucket reads the bucket whose head is v: the number of its root page, or 0 and
// that page itself, if it is small.
func (r *reader) bucket(w *bucketWalk, v []byte, depth int) {
	var head struct{ Root, Sequence uint64 }
	n, err := binary.Decode(v, binary.NativeEndian, &head)
	if err == nil && head.Root != 0 {
		r.tree(w, head.Root, depth)
		return
	}
	var h pageHead
	if err == nil {
		_, err = binary.Decode(v[n:], binary.NativeEndian, &h)
	}
	if err == nil {
		err = r.elements(w, v[n:], h, depth)
	}
	if err != nil {
		r.damaged(w.String(), "%v", err)
	}
}

// freelist asks that each page is used or free, and none both. After other
// damage that is not known.
func (r *reader) freelist() {
	if len(r.damage) > 0 {
		return
	}
	p, h, err := r.page(r.meta.Freelist)
	if err == nil && h.Flags != freelistPage {
		err = fmt.Errorf("it is of kind %#x", h.Flags)
	}
	if err != nil {
		r.damaged("list of free pages", "page %d: %v", r.meta.Freelist, err)
		return
	}
	const word = 8
	at, count := binary.Size(h), uint64(h.Count)
	if count == 0xffff { // more than fits: the number is the first in the list
		if len(p) >= at+word {
			count = binary.NativeEndian.Uint64(p[at:])
		}
		at += word
	}
	if count > uint64(len(p)/word) || at+int(count)*word > len(p) {
		r.damaged("list of free pages", "%d of them don't fit into it", count)
		return
	}
	for ; count > 0; count, at = count-1, at+word {
		id := binary.NativeEndian.Uint64(p[at:])
		if r.used[id] || id >= r.meta.End {
			r.damaged("list of free pages", "page %d is in use, or there is none", id)
			return
		}
		r.used[id] = true
	}
	if lost := r.meta.End - uint64(len(r.used)); lost != 0 {
		r.damaged("list of free pages", "%d pages are neither used nor free", lost)
	}
}
