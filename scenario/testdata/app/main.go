// Command app is what the scenarios deploy. The file `page` beside it is what it says, so that a commit
// that changes a word is a new artifact; it is sick when the page says so, and does not start at all
// when the page says that. It is built once and committed as a binary.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	text, _ := os.ReadFile("page") // an app without a page says nothing
	page := strings.TrimSpace(string(text))
	if strings.Contains(page, "crash") {
		fmt.Println("this version cannot start")
		os.Exit(3)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go answer(c, page)
	}
}

// answer needs no more of HTTP than this, and a program without net/http is a third of the size.
func answer(c net.Conn, page string) {
	defer c.Close()
	in := bufio.NewReader(c)
	first, err := in.ReadString('\n')
	for line := first; err == nil && strings.TrimSpace(line) != ""; {
		line, err = in.ReadString('\n')
	}
	status, body := "200 OK", page
	switch {
	case strings.Contains(first, " /healthz "):
		if strings.Contains(page, "sick") {
			status, body = "503 Service Unavailable", "the warehouse does not answer"
		}
	case strings.Contains(first, " /settings "):
		body = fmt.Sprintf("color=%s region=%s key=%x values=%s", os.Getenv("COLOR"), os.Getenv("REGION"), sha256.Sum256([]byte(os.Getenv("PAYMENT_KEY"))), os.Getenv("VALUES"))
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}
