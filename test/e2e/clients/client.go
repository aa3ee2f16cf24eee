// GET /big and POST /echo with net/http; prints the SHA-256 of what came, what was answered, and the protocol.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
)

func read(answer *http.Response, err error) ([]byte, string) {
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(err)
	}
	return body, answer.Proto
}

func main() {
	base := os.Args[1]
	big, _ := read(http.Get(base + "/big"))
	body := bytes.Repeat([]byte("x"), 300_000)
	echo, protocol := read(http.Post(base+"/echo", "text/plain", bytes.NewReader(body)))
	fmt.Printf("%x %s %s\n", sha256.Sum256(big), echo, protocol)
}
