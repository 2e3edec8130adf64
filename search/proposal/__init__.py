"""What `--init` proposes: a look at images, and a space that fits them and the machine."""
