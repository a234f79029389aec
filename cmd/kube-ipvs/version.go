package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return newCommand("version", "print the version", "Prints the version.", noArguments, func(c *cobra.Command, _ []string) error {
		printVersion(c)
		return nil
	})
}

func printVersion(c *cobra.Command) { fmt.Fprintln(c.OutOrStdout(), "kube-ipvs", version) }
