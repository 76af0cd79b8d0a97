package taskspec

import (
	"math"
	"strconv"
	"strings"

	"biplane.dev/biplane/internal/fault"
)

// suffixes of a quantity as Kubernetes writes it, and what they multiply by.
var suffixes = []struct {
	text   string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50}, {"Ei", 1 << 60},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18}, {"m", 1e-3},
}

// Quantity reads "500m", "1.5", "2Gi" and returns it in units of 1/scale (scale 1000 makes thousandths), rounded up.
func Quantity(field, text string, scale float64) (int64, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, s := range suffixes {
		if cut, ok := strings.CutSuffix(number, s.text); ok {
			number, factor = cut, s.factor
			break
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value < 0 || math.IsInf(value, 0) || math.IsNaN(value) {
		return 0, fault.Invalid(field, "%q is not a quantity; write it like 500m, 2 or 1.5Gi", text)
	}
	value = math.Ceil(value*factor*scale - 1e-9)
	if value > math.MaxInt64/2 {
		return 0, fault.Invalid(field, "%q is too large", text)
	}
	return int64(value), nil
}
