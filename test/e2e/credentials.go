package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authority signs the certificates by which everything in the cluster knows everything else.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// credentials writes, below conf, a folder with cert.pem and key.pem for each name in
// the cluster, and a kubeconfig beside them.
func (c *Cluster) credentials() error {
	a := &authority{}
	if err := a.issue(c.path("conf", "ca"), "e2e-ca", "", nil); err != nil {
		return err
	}
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", control4, apiService4, "127.0.0.1"}
	errs := []error{
		a.issue(c.path("conf", "apiserver"), "kube-apiserver", "", names),
		a.issue(c.path("conf", "service-accounts"), "service-accounts", "", nil),
		a.issue(c.path("conf", "admin"), "admin", "system:masters", nil),
		a.issue(c.path("conf", "controller-manager"), "system:kube-controller-manager", "", nil),
		a.issue(c.path("conf", "scheduler"), "system:kube-scheduler", "", nil),
		a.issue(c.path("conf", "kube-proxy"), "system:kube-proxy", "", nil),
	}
	for _, name := range c.names() {
		errs = append(errs, a.issue(c.path("conf", name), "system:node:"+name, "system:nodes", nil))
	}
	return errors.Join(errs...)
}

// issue writes a new key and its certificate, the first of which is the authority's own,
// and a kubeconfig that has them.
func (a *authority) issue(dir, user, group string, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if a.certificate == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage, template.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		a.certificate, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writeCredentials(dir, user,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
}

func writeCredentials(dir, user string, cert, key []byte) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600)); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "ca", "cert.pem"))
	if err != nil {
		return err
	}
	return clientcmd.WriteToFile(clientcmdapi.Config{
		CurrentContext: "e2e",
		Contexts:       map[string]*clientcmdapi.Context{"e2e": {Cluster: "e2e", AuthInfo: user}},
		Clusters:       map[string]*clientcmdapi.Cluster{"e2e": {Server: "https://" + apiAddress(), CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: cert, ClientKeyData: key}},
	}, filepath.Join(dir, "kubeconfig"))
}
