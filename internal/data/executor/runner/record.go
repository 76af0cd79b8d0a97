package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrTorn says that a record is not what was written.
var ErrTorn = errors.New("torn record")

// reserved is the size of a file that is kept in a record's place from the beginning, so that a disk that the task has filled
// does not lose how it ended. Longer texts in a record are cut.
const (
	reserved     = 4 << 10
	maxErrorText = 1 << 10
)

// reserve allocates the room for the records that a running attempt will write.
func reserve(folder string) error {
	for _, name := range []string{TaskFile, ExitFile} {
		if err := os.WriteFile(filepath.Join(folder, name+partSuffix), bytes.Repeat([]byte{' '}, reserved), 0o600); err != nil {
			return fmt.Errorf("make room for %s: %w", name, err)
		}
	}
	return nil
}

// WriteRecord puts the exit record into the attempt's folder, whole or not at all.
func WriteRecord(folder string, record Record) error {
	if len(record.StartError) > maxErrorText {
		record.StartError = record.StartError[:maxErrorText]
	}
	return writeJSON(folder, ExitFile, record)
}

// ReadRecord is the exit record of the attempt in folder; an error that is fs.ErrNotExist when there is none.
func ReadRecord(folder string) (Record, error) {
	var record Record
	err := readJSON(filepath.Join(folder, ExitFile), &record)
	return record, err
}

// ReadTask is the process of the attempt in folder; an error that is fs.ErrNotExist when none was started.
func ReadTask(folder string) (Task, error) {
	var task Task
	err := readJSON(filepath.Join(folder, TaskFile), &task)
	return task, err
}

// writeJSON is not synced: after a crash of the machine nothing of the attempt is alive, and one without a record counts as
// lost, which is as safe.
func writeJSON(folder, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	part := filepath.Join(folder, name+partSuffix)
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	// Written over the reserved blanks, which JSON allows after a value.
	_, err = file.WriteAt(append(data, bytes.Repeat([]byte{' '}, max(0, reserved-len(data)))...), 0)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(part, filepath.Join(folder, name))
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTorn, path, err)
	}
	return nil
}
