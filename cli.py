#!/usr/bin/env python
"Launcher for a checkout: `python cli.py ...` is the same as `dedl-fastai ...`."

from dedl_fastai.cli import main

if __name__ == "__main__":
    main()
