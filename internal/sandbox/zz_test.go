package sandbox
import ("testing";"time";"slices";"os/exec")
func TestZ(t *testing.T) {
	s := open(t, Options{})
	m := map[string][]time.Duration{}
	for range 150 { for n, sp := range map[string]Spec{"none": {}, "both": {Memory:1<<30,Processes:100}, "bare": {}} {
		sp.Args=[]string{"true"}
		b:=time.Now(); if n=="bare" { exec.Command("true").Run() } else { run(t, s, sp) }; m[n]=append(m[n],time.Since(b)) } }
	for n,d := range m { slices.Sort(d); t.Log(n, "p10",d[15],"p50",d[75],"p90",d[135]) }
}
