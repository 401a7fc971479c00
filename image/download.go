package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// A download brings one file to a path, over several tries and several
// processes.
type download struct {
	source Source
	part   string // the file as far as it is there; with .json it is the path of a partNote
	most   int64  // bytes
	patience
	say func(format string, args ...any)

	file   *os.File
	note   partNote
	pieces bool // the file was fetched in more than one piece
	told   time.Time
	client *http.Client
}

// patience is how a download deals with a server that is slow.
type patience struct {
	pause time.Duration // between two tries
	stall time.Duration // without a byte, after which a connection is given up
}

// A partNote says what a part is of. Without it a part is worth nothing.
type partNote struct {
	URL       string `json:"url"`
	SHA256    string `json:"sha256"`
	Validator string `json:"validator,omitempty"` // what tells the server's file from another one: a strong ETag, or its time
}

// errAgain marks an error that another try may not meet.
var errAgain = errors.New("try again")

// run fetches the file. With the wrong digest nothing of it stays; after other
// errors what there is does.
func (d *download) run(ctx context.Context) (err error) {
	if d.file, err = os.OpenFile(d.part, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	defer d.file.Close()
	if err := d.begin(); err != nil {
		return err
	}
	for first := true; ; first = false {
		if err := d.fetch(ctx); err != nil {
			return fmt.Errorf("pull %s: %w", d.source.shown(), err)
		}
		d.say("%s: checking", d.source.Name)
		have, size, err := sum(ctx, d.file)
		if err != nil {
			return fmt.Errorf("pull %s: %w", d.source.shown(), err)
		}
		if have == d.source.SHA256 {
			return nil
		}
		if !d.pieces || !first {
			return errors.Join(&DigestError{URL: d.source.shown(), Want: d.source.SHA256, Have: have, Bytes: size}, d.remove())
		}
		// The server's file, or what a crash left of ours, is not what it was.
		if err := d.restart(""); err != nil {
			return err
		}
	}
}

// begin finds out whether what is there of the file can be gone on with.
func (d *download) begin() error {
	text, err := os.ReadFile(d.part + ".json")
	if err == nil {
		err = json.Unmarshal(text, &d.note)
	}
	if err != nil || d.note.URL != d.source.shown() || d.note.SHA256 != d.source.SHA256 {
		return d.restart("")
	}
	return nil
}

// restart throws away what there is of the file.
func (d *download) restart(validator string) error {
	d.note = partNote{URL: d.source.shown(), SHA256: d.source.SHA256, Validator: validator}
	d.pieces = false
	text, err := json.Marshal(d.note)
	if err != nil {
		return err
	}
	return errors.Join(d.file.Truncate(0), os.WriteFile(d.part+".json", text, 0o644))
}

func (d *download) remove() error { return removeAll(d.part, d.part+".json") }

// fetch tries until the file is there.
func (d *download) fetch(ctx context.Context) error {
	once := d.copyFile
	if u, err := url.Parse(d.source.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		d.client = newClient(d.stall)
		defer d.client.CloseIdleConnections()
		once = d.get
	}
	for failed := 0; ; {
		before, err := d.file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		d.pieces = d.pieces || before > 0
		err = once(ctx, before)
		if err != nil && ctx.Err() != nil { // whatever else it was
			return fmt.Errorf("%w (what there is of it stays: say it again to go on)", context.Cause(ctx))
		}
		if err == nil || !errors.Is(err, errAgain) {
			return err
		}
		after, _ := d.file.Seek(0, io.SeekEnd)
		if failed++; after > before {
			failed = 0
		}
		if failed >= pullTries {
			return err
		}
		d.say("%s: %v", d.source.Name, err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d.pause):
		}
	}
}

// newClient returns a client that takes proxies from the environment and gives up on
// a server that says nothing.
func newClient(stall time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // bytes are counted as the server has them
	t.ResponseHeaderTimeout = stall
	return &http.Client{Transport: t}
}

// copyFile takes the file from this host.
func (d *download) copyFile(ctx context.Context, _ int64) error {
	path := d.source.URL
	if u, err := url.Parse(path); err == nil && u.Scheme == "file" {
		path = u.Path
	}
	from, err := os.Open(path)
	if err != nil {
		return bare(err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("is no file")
	}
	if err := d.restart(""); err != nil {
		return err
	}
	return d.receive(ctx, from, 0, info.Size())
}

// get asks the server for what comes after the first have bytes.
func (d *download) get(ctx context.Context, have int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.source.URL, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if d.note.Validator != "" {
			req.Header.Set("If-Range", d.note.Validator)
		}
	}
	d.say("%s: asking %s", d.source.Name, req.URL.Host)
	resp, err := d.client.Do(req)
	if err != nil {
		return again(plain(err))
	}
	defer resp.Body.Close()
	total, err := d.accept(resp, have)
	if err != nil {
		return err
	}
	if total == have && have > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // it was all there
	}
	if resp.StatusCode == http.StatusOK {
		have = 0
	}
	stalled := fmt.Errorf("nothing came for %s", d.stall)
	patience := time.AfterFunc(d.stall, func() { cancel(stalled) })
	defer patience.Stop()
	err = d.receive(ctx, readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		patience.Reset(d.stall)
		return n, err
	}), have, total)
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, stalled) {
		return again(stalled)
	}
	return err
}

// again marks an error as one that another try may not meet.
func again(err error) error { return fmt.Errorf("%w (%w)", err, errAgain) }

// plain leaves out the method and the address that package http puts before a cause:
// the address may have a password in it, and is named anyway.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// accept judges an answer and returns the size of the whole file, -1 if it is not
// said. It leaves the part as the answer goes on from it.
func (d *download) accept(resp *http.Response, have int64) (total int64, err error) {
	status := fmt.Errorf("the server says %q", resp.Status)
	switch resp.StatusCode {
	case http.StatusPartialContent:
		var first, last int64
		total := int64(-1)
		r := resp.Header.Get("Content-Range")
		if n, _ := fmt.Sscanf(r, "bytes %d-%d/%d", &first, &last, &total); n < 2 || first != have {
			return 0, errors.Join(again(fmt.Errorf("the server sends another part: Content-Range %q", r)), d.restart(""))
		}
		return total, nil
	case http.StatusOK:
		return resp.ContentLength, d.restart(validator(resp.Header))
	case http.StatusRequestedRangeNotSatisfiable:
		var total int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes */%d", &total); err == nil && total == have {
			return total, nil
		}
		return 0, errors.Join(again(status), d.restart(""))
	case http.StatusNotFound, http.StatusGone:
		return 0, fmt.Errorf("%w: %w", status, fs.ErrNotExist)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return 0, fmt.Errorf("%w: %w", status, fs.ErrPermission)
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return 0, again(status)
	}
	if resp.StatusCode >= 500 {
		return 0, again(status)
	}
	return 0, status
}

// validator returns what tells this file of the server from a later one; see RFC
// 9110, 13.1.5. A weak ETag does not.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// receive appends what comes to the part, have bytes long.
func (d *download) receive(ctx context.Context, from io.Reader, have, total int64) error {
	if total > d.most {
		return fmt.Errorf("has %d bytes, want at most %d", total, d.most)
	}
	if _, err := d.file.Seek(have, io.SeekStart); err != nil {
		return err
	}
	began, first := time.Now(), have
	limited := io.LimitReader(from, d.most-have+1)
	n, err := io.Copy(d.file, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		n, err := limited.Read(p)
		have += int64(n)
		d.tell(have, total, float64(have-first)/time.Since(began).Seconds())
		return n, err
	}))
	switch {
	case first+n > d.most:
		return fmt.Errorf("has more than %d bytes", d.most)
	case err == nil && total >= 0 && first+n < total:
		return again(fmt.Errorf("ended after %d of %d bytes", first+n, total))
	case err == nil || ctx.Err() != nil || isFull(err):
		return err
	}
	return again(fmt.Errorf("broke off after %d bytes: %w", first+n, err))
}

// tellEvery is the time between two lines of progress: they are for people.
const tellEvery = time.Second

func (d *download) tell(have, total int64, perSecond float64) {
	if time.Since(d.told) < tellEvery {
		return
	}
	d.told = time.Now()
	const mib = 1 << 20
	if total > 0 {
		d.say("%s: %d%% of %d MiB, %.1f MiB/s", d.source.Name, 100*have/total, total/mib, perSecond/mib)
		return
	}
	d.say("%s: %d MiB, %.1f MiB/s", d.source.Name, have/mib, perSecond/mib)
}
