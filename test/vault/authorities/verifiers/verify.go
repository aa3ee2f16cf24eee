// Verifies FOLDER/chain.pem against FOLDER/root.pem as a TLS client does; prints OK or what it has against it.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
)

func read(path string) []*x509.Certificate {
	rest, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic(err)
		}
		all = append(all, certificate)
	}
	return all
}

func main() {
	for _, folder := range os.Args[1:] {
		roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
		for _, root := range read(folder + "/root.pem") {
			roots.AddCert(root)
		}
		chain := read(folder + "/chain.pem")
		for _, certificate := range chain[1:] {
			intermediates.AddCert(certificate)
		}
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
		if err == nil {
			fmt.Println("OK")
		} else {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
}
