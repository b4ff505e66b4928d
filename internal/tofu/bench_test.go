package tofu_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/tofu"
)

var ten = map[string]string{"main.tf": `
variable "size" {
  type    = number
  default = 10
}
resource "terraform_data" "x" {
  count = var.size
  input = "value-${count.index}"
}`}

// BenchmarkDeployment compares a deployment of ten terraform_data with the same by hand: init, plan -out,
// show -json, apply, with the same engine, each time for an instance that has nothing yet. The two take
// turns in one run, alone and two at a time; "ratio" is ours over by hand and must not exceed 1.0.
func BenchmarkDeployment(b *testing.B) {
	for _, engine := range engines(b) {
		for _, width := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d-at-a-time", engine.Name, width), func(b *testing.B) {
				p := start(b, engine)
				p.run(b, "ins_warm", ten) // prepares the workspace: paid once for a pattern version
				var hand, ours time.Duration
				for i := 0; b.Loop(); i++ {
					hand += atATime(width, func(int) { byHand(b, engine) })
					runs := make([]tofu.Run, width)
					for w := range runs {
						runs[w] = p.run(b, fmt.Sprintf("ins_%d_%d", i, w), ten)
					}
					ours += atATime(width, func(w int) {
						p.deploy(b, runs[w])
						if err := p.Close(b.Context(), runs[w]); err != nil {
							b.Error(err)
						}
					})
				}
				n := float64(b.N)
				b.ReportMetric(float64(hand.Milliseconds())/n, "ms-by-hand")
				b.ReportMetric(float64(ours.Milliseconds())/n, "ms-ours")
				b.ReportMetric(float64(ours)/float64(hand), "ratio")
			})
		}
	}
}

func atATime(width int, do func(int)) time.Duration {
	began := time.Now()
	var all sync.WaitGroup
	for w := range width {
		all.Go(func() { do(w) })
	}
	all.Wait()
	return time.Since(began)
}

func byHand(b *testing.B, engine tofu.Engine) {
	dir, err := os.MkdirTemp("", "by-hand-")
	if err != nil {
		b.Error(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(ten["main.tf"]), 0o600); err != nil {
		b.Error(err)
	}
	for _, args := range [][]string{
		{"init", "-input=false"}, {"plan", "-input=false", "-out=plan"}, {"show", "-json", "plan"}, {"apply", "-input=false", "plan"},
	} {
		cmd := exec.Command(engine.Path, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CHECKPOINT_DISABLE=1"}
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
