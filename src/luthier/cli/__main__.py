"""`python -m luthier.cli`: the command line, by the interpreter that is named."""

from luthier.cli.main import main

if __name__ == "__main__":
    main()
