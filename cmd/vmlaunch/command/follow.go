package command

import (
	"context"
	"io"
	"time"
)

const (
	// lookEvery is how often a log is read on: often enough to read along.
	lookEvery = 100 * time.Millisecond

	// askEvery is how many looks that found nothing it takes to ask whether
	// the writer has ended, which costs more than a look.
	askEvery = 10
)

// follow copies r to w, and what is added to r, until ended says that nothing
// will come any more. It fails as the reading, the writing and ended do, and
// with ctx's error.
func follow(ctx context.Context, r io.Reader, w io.Writer, ended func() (bool, error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for still := 0; ; {
		n, err := io.Copy(w, r)
		if err != nil {
			return err
		}
		if n > 0 {
			still = 0
		} else if still++; still%askEvery == 0 {
			over, err := ended()
			if err != nil {
				return err
			}
			if over {
				_, err := io.Copy(w, r) // what came between the last look and the end
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
