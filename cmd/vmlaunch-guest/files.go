package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// sftpServer is the argument that makes this program one: SFTP on its standard
// streams, with the rights, the folder and the life of any program of a session.
const sftpServer = "sftp-server"

// serveFiles speaks SFTP until its input ends, and returns the process's exit
// code. Paths that are not absolute begin where it was started.
func serveFiles() int {
	s, err := sftp.NewServer(standardStreams{os.Stdin, os.Stdout})
	if err == nil {
		err = s.Serve()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmlaunch-guest: sftp: %v\n", err)
		return 1
	}
	return 0
}

// standardStreams are standard input and output as one.
type standardStreams struct {
	io.ReadCloser
	out io.WriteCloser
}

func (s standardStreams) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s standardStreams) Close() error { return errors.Join(s.ReadCloser.Close(), s.out.Close()) }

// subsystem starts a server of a kind that has a name, RFC 4254, 6.5: of files, by
// this very program.
func (s *session) subsystem(req *ssh.Request, name string) bool {
	return name == "sftp" && s.startProgram(req, "/proc/self/exe", []string{"vmlaunch-guest", sftpServer})
}
