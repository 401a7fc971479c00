package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/guest"
)

// chunk is what is under way on one connection of a load: it fits into what both
// sides buffer, so that sending it never waits for its own echo.
const chunk = 4 << 10

// load sends bytes to the echo port of a machine, over many connections at once,
// and compares what comes back.
func (st *stage) load(ctx context.Context, s configs.Step) seen {
	m, ok := st.machine(s.To)
	if !ok {
		return seen{err: fmt.Errorf("load %s: is no machine", s.To)}
	}
	cid, err := st.cidOf(ctx, m)
	if err != nil {
		return seen{err: err}
	}
	ns, err := st.enter(s.From)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	numbers := make([]int, max(s.Connections, 1))
	for i := range numbers {
		numbers[i] = i
	}
	results := fleet.Each(ctx, numbers, len(numbers), func(ctx context.Context, i int) error {
		c, err := connect(ctx, ns, address{cid: cid, port: guest.ProbeEcho})
		if err != nil {
			return err
		}
		return errors.Join(echo(ctx, c, byte(i), max(s.Bytes, 1)), c.Close())
	})
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	if len(errs) > 0 {
		return seen{err: fmt.Errorf("%d of %d connections failed, the first one: %w", len(errs), len(results), errs[0])}
	}
	return seen{note: fmt.Sprintf("%d connections, %d bytes each way", len(results), len(results)*max(s.Bytes, 1))}
}

// echo sends n bytes that begin with a number of the connection's own, and asks
// that they come back.
func echo(ctx context.Context, c conn, first byte, n int) error {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	back := make([]byte, chunk)
	for sent := 0; sent < n; {
		out := make([]byte, min(chunk, n-sent))
		for i := range out {
			out[i] = first + byte(sent+i)
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		in := back[:len(out)]
		if _, err := io.ReadFull(c, in); err != nil {
			return err
		}
		if !bytes.Equal(in, out) {
			return fmt.Errorf("bytes %d to %d came back changed", sent, sent+len(out))
		}
		sent += len(out)
	}
	return nil
}
