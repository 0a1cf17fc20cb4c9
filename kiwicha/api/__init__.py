# SPDX-License-Identifier: Apache-2.0
"""What `import kiwicha` offers, and the command line is made of."""
