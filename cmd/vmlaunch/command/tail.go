package command

import (
	"bytes"
	"io"
	"os"
)

// tailBlock is how much of a log is read at once from its end, in bytes.
const tailBlock = 64 << 10

// toTail sets f to where its last n lines begin; a last line without an end is one, too.
// A negative n is all of it.
func toTail(f *os.File, n int) error {
	if n < 0 {
		_, err := f.Seek(0, io.SeekStart)
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	at, err := tailOffset(f, size, n)
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	return err
}

// tailOffset returns where the last n lines of the first size bytes of r begin, for n
// above zero. It fails as reading does.
func tailOffset(r io.ReaderAt, size int64, n int) (int64, error) {
	block := make([]byte, tailBlock)
	last := size - 1 // the end of the last line ends no line before it
	for end := size; end > 0; {
		begin := max(0, end-tailBlock)
		part := block[:end-begin]
		if _, err := r.ReadAt(part, begin); err != nil {
			return 0, err
		}
		for i := bytes.LastIndexByte(part, '\n'); i >= 0; i = bytes.LastIndexByte(part[:i], '\n') {
			if begin+int64(i) == last {
				continue
			}
			if n--; n == 0 {
				return begin + int64(i) + 1, nil
			}
		}
		end = begin
	}
	return 0, nil
}
