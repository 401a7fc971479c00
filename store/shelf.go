package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// A record is what a shelf holds: a value that knows the key it stands under.
type record interface {
	key() string
	// check returns what no vmlaunch would have written.
	check() error
}

// A shelf is a bucket of records of one type, each in JSON under its own key.
type shelf[R record] struct {
	path   []string
	object func(key string) string // `machine "web"`, for errors
}

// get returns the record under key, or [fs.ErrNotExist].
func (s shelf[R]) get(tx *Tx, key string) (R, error) {
	var zero R
	v, err := tx.value(key, s.path...)
	if err != nil {
		return zero, err
	}
	if v == nil {
		return zero, &recordError{s.object(key), fs.ErrNotExist}
	}
	return s.decode(key, v)
}

// put writes r, whether there is one already or not.
func (s shelf[R]) put(tx *Tx, r R) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("record %s: %w", s.object(r.key()), err)
	}
	v, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record %s: %w", s.object(r.key()), err)
	}
	return tx.setValue(r.key(), v, s.path...)
}

// delete takes the record under key away; none is fine.
func (s shelf[R]) delete(tx *Tx, key string) error { return tx.remove(key, s.path...) }

// all returns every record in key order.
func (s shelf[R]) all(tx *Tx) ([]R, error) {
	entries, err := tx.entries(s.path...)
	if err != nil {
		return nil, err
	}
	records := make([]R, 0, len(entries))
	for _, e := range entries {
		r, err := s.decode(e.key, e.value)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// decode reads the record that stands under key. bbolt has no checksum on
// values, so whatever can be cross-checked is. It fails with [ErrCorrupt].
func (s shelf[R]) decode(key string, v []byte) (R, error) {
	var r, zero R
	d := json.NewDecoder(bytes.NewReader(v))
	d.DisallowUnknownFields() // a field more is a newer schema, see migrations
	err := d.Decode(&r)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one JSON value")
		}
	}
	if err == nil {
		err = r.check()
	}
	if err == nil && r.key() != key {
		err = fmt.Errorf("it stands under the key %q", key)
	}
	if err != nil {
		return zero, corrupt(s.object(key), err)
	}
	return r, nil
}
