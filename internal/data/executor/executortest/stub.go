package executortest
import "testing"
func testStop(t *testing.T, s Subject) {}
func testLimits(t *testing.T, s Subject) {}
func testLogs(t *testing.T, s Subject) {}
func testCrash(t *testing.T, s Subject) {}
func Main(s Subject) {}
