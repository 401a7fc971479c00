package guest

import (
	"context"
	"fmt"
	"io"

	"github.com/pkg/sftp"
)

// A fileService is an SFTP server in the guest, and a conversation with it.
type fileService struct {
	client *sftp.Client
	from   *io.PipeReader // what the server says
	ended  chan struct{}  // closed when the server has ended
	err    error          // valid then: what Run failed with
}

// files starts SFTP in the guest. The caller closes it. It fails as [Client.Run] does,
// and if the guest has none. When ctx ends the service does.
func (c *Client) files(ctx context.Context) (*fileService, error) {
	in, to := io.Pipe()
	from, out := io.Pipe()
	s := &fileService{from: from, ended: make(chan struct{})}
	go func() { // close waits for it
		defer close(s.ended)
		_, s.err = c.Run(ctx, Command{subsystem: "sftp", Stdin: in, Stdout: out})
		_ = in.Close() // nobody reads or writes any more
		_ = out.CloseWithError(s.err)
	}()
	var err error
	if s.client, err = sftp.NewClientPipe(from, to, sftp.UseConcurrentWrites(true)); err != nil {
		_ = to.Close()
		if cause := s.wait(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("sftp: %w", err)
	}
	return s, nil
}

// close ends the conversation, and with it the server. It fails if that was cut off
// before: with ctx's cause, or [ErrGone].
func (s *fileService) close() error {
	_ = s.client.Close() // tells nothing that the server's end does not
	return s.wait()
}

// wait waits until the server has ended, and hears nothing more.
func (s *fileService) wait() error {
	_ = s.from.Close()
	<-s.ended
	return s.err
}
