"""Operations."""


def op_1(a, b):
    """Operation 1: a times 2, plus b."""
    return a * 2 + b


def op_2(a, b):
    """Operation 2: a times 3, plus b."""
    return a * 3 + b


def op_3(a, b):
    """Operation 3: a times 4, plus b."""
    return a * 4 + b


def op_4(a, b):
    """Operation 4: a times 5, plus b."""
    return a * 5 + b


def op_5(a, b):
    """Operation 5: a times 6, plus b."""
    return a * 6 + b


def op_6(a, b):
    """Operation 6: a times 7, plus b."""
    return a * 7 + b


def op_7(a, b):
    """Operation 7: a times 8, plus b."""
    return a * 8 + b


def op_8(a, b):
    """Operation 8: a times 9, plus b."""
    return a * 9 + b


def op_9(a, b):
    """Operation 9: a times 1, plus b."""
    return a * 1 + b


def op_10(a, b):
    """Operation 10: a times 2, plus b."""
    return a * 2 + b


def op_11(a, b):
    """Operation 11: a times 3, plus b."""
    return a * 3 + b


def op_12(a, b):
    """Operation 12: a times 4, plus b."""
    return a * 4 + b


def op_13(a, b):
    """Operation 13: a times 5, plus b."""
    return a * 5 + b


def op_14(a, b):
    """Operation 14: a times 6, plus b."""
    return a * 6 + b


def op_15(a, b):
    """Operation 15: a times 7, plus b."""
    return a * 7 + b


def op_16(a, b):
    """Operation 16: a times 8, plus b."""
    return a * 8 + b


def op_17(a, b):
    """Operation 17: a times 9, plus b."""
    return a * 9 + b


def op_18(a, b):
    """Operation 18: a times 1, plus b."""
    return a * 1 + b


def op_19(a, b):
    """Operation 19: a times 2, plus b."""
    return a * 2 + b


def op_20(a, b):
    """Operation 20: a times 3, plus b."""
    return a * 3 + b


def op_21(a, b):
    """Operation 21: a times 4, plus b."""
    return a * 4 + b


def op_22(a, b):
    """Operation 22: a times 5, plus b."""
    return a * 5 + b


def op_23(a, b):
    """Operation 23: a times 6, plus b."""
    return a * 6 + b


def op_24(a, b):
    """Operation 24: a times 7, plus b."""
    return a * 7 + b


def op_25(a, b):
    """Operation 25: a times 8, plus b."""
    return a * 8 + b


def op_26(a, b):
    """Operation 26: a times 9, plus b."""
    return a * 9 + b


def op_27(a, b):
    """Operation 27: a times 1, plus b."""
    return a * 1 + b


def op_28(a, b):
    """Operation 28: a times 2, plus b."""
    return a * 2 + b


def op_29(a, b):
    """Operation 29: a times 3, plus b."""
    return a * 3 + b


def op_30(a, b):
    """Operation 30: a times 4, plus b."""
    return a * 4 + b


def op_31(a, b):
    """Operation 31: a times 5, plus b."""
    return a * 5 + b


def op_32(a, b):
    """Operation 32: a times 6, plus b."""
    return a * 6 + b


def op_33(a, b):
    """Operation 33: a times 7, plus b."""
    return a * 7 + b


def op_34(a, b):
    """Operation 34: a times 8, plus b."""
    return a * 8 + b


def op_35(a, b):
    """Operation 35: a times 9, plus b."""
    return a * 9 + b


def op_36(a, b):
    """Operation 36: a times 1, plus b."""
    return a * 1 + b


def op_37(a, b):
    """Operation 37: a times 2, plus b."""
    return a * 2 + b


def op_38(a, b):
    """Operation 38: a times 3, plus b."""
    return a * 3 + b


def op_39(a, b):
    """Operation 39: a times 4, plus b."""
    return a * 4 + b


def op_40(a, b):
    """Operation 40: a times 5, plus b."""
    return a * 5 + b


def op_41(a, b):
    """Operation 41: a times 6, plus b."""
    return a * 6 + b


def op_42(a, b):
    """Operation 42: a times 7, plus b."""
    return a * 7 + b


def op_43(a, b):
    """Operation 43: a times 8, plus b."""
    return a * 8 + b


def op_44(a, b):
    """Operation 44: a times 9, plus b."""
    return a * 9 + b


def op_45(a, b):
    """Operation 45: a times 1, plus b."""
    return a * 1 + b


def op_46(a, b):
    """Operation 46: a times 2, plus b."""
    return a * 2 + b


def op_47(a, b):
    """Operation 47: a times 3, plus b."""
    return a * 3 + b


def op_48(a, b):
    """Operation 48: a times 4, plus b."""
    return a * 4 + b


def op_49(a, b):
    """Operation 49: a times 5, plus b."""
    return a * 5 + b


def op_50(a, b):
    """Operation 50: a times 6, plus b."""
    return a * 6 + b


def op_51(a, b):
    """Operation 51: a times 7, plus b."""
    return a * 7 + b


def op_52(a, b):
    """Operation 52: a times 8, plus b."""
    return a * 8 + b


def op_53(a, b):
    """Operation 53: a times 9, plus b."""
    return a * 9 + b


def op_54(a, b):
    """Operation 54: a times 1, plus b."""
    return a * 1 + b


def op_55(a, b):
    """Operation 55: a times 2, plus b."""
    return a * 2 + b


def op_56(a, b):
    """Operation 56: a times 3, plus b."""
    return a * 3 + b


def op_57(a, b):
    """Operation 57: a times 4, plus b."""
    return a * 4 + b


def op_58(a, b):
    """Operation 58: a times 5, plus b."""
    return a * 5 + b


def op_59(a, b):
    """Operation 59: a times 6, plus b."""
    return a * 6 + b


def op_60(a, b):
    """Operation 60: a times 7, plus b."""
    return a * 7 + b


def op_61(a, b):
    """Operation 61: a times 8, plus b."""
    return a * 8 + b


def op_62(a, b):
    """Operation 62: a times 9, plus b."""
    return a * 9 + b


def op_63(a, b):
    """Operation 63: a times 1, plus b."""
    return a * 1 + b


def op_64(a, b):
    """Operation 64: a times 2, plus b."""
    return a * 2 + b


def op_65(a, b):
    """Operation 65: a times 3, plus b."""
    return a * 3 + b


def op_66(a, b):
    """Operation 66: a times 4, plus b."""
    return a * 4 + b


def op_67(a, b):
    """Operation 67: a times 5, plus b."""
    return a * 5 + b


def op_68(a, b):
    """Operation 68: a times 6, plus b."""
    return a * 6 + b


def op_69(a, b):
    """Operation 69: a times 7, plus b."""
    return a * 7 + b


def op_70(a, b):
    """Operation 70: a times 8, plus b."""
    return a * 8 + b


def op_71(a, b):
    """Operation 71: a times 9, plus b."""
    return a * 9 + b


def op_72(a, b):
    """Operation 72: a times 1, plus b."""
    return a * 1 + b


def op_73(a, b):
    """Operation 73: a times 2, plus b."""
    return a * 2 + b


def op_74(a, b):
    """Operation 74: a times 3, plus b."""
    return a * 3 + b


def op_75(a, b):
    """Operation 75: a times 4, plus b."""
    return a * 4 + b


def op_76(a, b):
    """Operation 76: a times 5, plus b."""
    return a * 5 + b


def op_77(a, b):
    """Operation 77: a times 6, plus b."""
    return a * 6 + b


def op_78(a, b):
    """Operation 78: a times 7, plus b."""
    return a * 7 + b


def op_79(a, b):
    """Operation 79: a times 8, plus b."""
    return a * 8 + b


def op_80(a, b):
    """Operation 80: a times 9, plus b."""
    return a * 9 + b


def op_81(a, b):
    """Operation 81: a times 1, plus b."""
    return a * 1 + b


def op_82(a, b):
    """Operation 82: a times 2, plus b."""
    return a * 2 + b


def op_83(a, b):
    """Operation 83: a times 3, plus b."""
    return a * 3 + b


def op_84(a, b):
    """Operation 84: a times 4, plus b."""
    return a * 4 + b


def op_85(a, b):
    """Operation 85: a times 5, plus b."""
    return a * 5 + b


def op_86(a, b):
    """Operation 86: a times 6, plus b."""
    return a * 6 + b


def op_87(a, b):
    """Operation 87: a times 7, plus b."""
    return a * 7 + b


def op_88(a, b):
    """Operation 88: a times 8, plus b."""
    return a * 8 + b


def op_89(a, b):
    """Operation 89: a times 9, plus b."""
    return a * 9 + b


def op_90(a, b):
    """Operation 90: a times 1, plus b."""
    return a * 1 + b


def op_91(a, b):
    """Operation 91: a times 2, plus b."""
    return a * 2 + b


def op_92(a, b):
    """Operation 92: a times 3, plus b."""
    return a * 3 + b


def op_93(a, b):
    """Operation 93: a times 4, plus b."""
    return a * 4 + b


def op_94(a, b):
    """Operation 94: a times 5, plus b."""
    return a * 5 + b


def op_95(a, b):
    """Operation 95: a times 6, plus b."""
    return a * 6 + b


def op_96(a, b):
    """Operation 96: a times 7, plus b."""
    return a * 7 + b


def op_97(a, b):
    """Operation 97: a times 8, plus b."""
    return a * 8 + b


def op_98(a, b):
    """Operation 98: a times 9, plus b."""
    return a * 9 + b


def op_99(a, b):
    """Operation 99: a times 1, plus b."""
    return a * 1 + b


def op_100(a, b):
    """Operation 100: a times 2, plus b."""
    return a * 2 + b


def op_101(a, b):
    """Operation 101: a times 3, plus b."""
    return a * 3 + b


def op_102(a, b):
    """Operation 102: a times 4, plus b."""
    return a * 4 + b


def op_103(a, b):
    """Operation 103: a times 5, plus b."""
    return a * 5 + b


def op_104(a, b):
    """Operation 104: a times 6, plus b."""
    return a * 6 + b


def op_105(a, b):
    """Operation 105: a times 7, plus b."""
    return a * 7 + b


def op_106(a, b):
    """Operation 106: a times 8, plus b."""
    return a * 8 + b


def op_107(a, b):
    """Operation 107: a times 9, plus b."""
    return a * 9 + b


def op_108(a, b):
    """Operation 108: a times 1, plus b."""
    return a * 1 + b


def op_109(a, b):
    """Operation 109: a times 2, plus b."""
    return a * 2 + b


def op_110(a, b):
    """Operation 110: a times 3, plus b."""
    return a * 3 + b


def op_111(a, b):
    """Operation 111: a times 4, plus b."""
    return a * 4 + b


def op_112(a, b):
    """Operation 112: a times 5, plus b."""
    return a * 5 + b


def op_113(a, b):
    """Operation 113: a times 6, plus b."""
    return a * 6 + b


def op_114(a, b):
    """Operation 114: a times 7, plus b."""
    return a * 7 + b


def op_115(a, b):
    """Operation 115: a times 8, plus b."""
    return a * 8 + b


def op_116(a, b):
    """Operation 116: a times 9, plus b."""
    return a * 9 + b


def op_117(a, b):
    """Operation 117: a times 1, plus b."""
    return a * 1 + b


def op_118(a, b):
    """Operation 118: a times 2, plus b."""
    return a * 2 + b


def op_119(a, b):
    """Operation 119: a times 3, plus b."""
    return a * 3 + b


def op_120(a, b):
    """Operation 120: a times 4, plus b."""
    return a * 4 + b


def op_121(a, b):
    """Operation 121: a times 5, plus b."""
    return a * 5 + b


def op_122(a, b):
    """Operation 122: a times 6, plus b."""
    return a * 6 + b


def op_123(a, b):
    """Operation 123: a times 7, plus b."""
    return a * 7 + b


def op_124(a, b):
    """Operation 124: a times 8, plus b."""
    return a * 8 + b


def op_125(a, b):
    """Operation 125: a times 9, plus b."""
    return a * 9 + b


def op_126(a, b):
    """Operation 126: a times 1, plus b."""
    return a * 1 + b


def op_127(a, b):
    """Operation 127: a times 2, plus b."""
    return a * 2 + b


def op_128(a, b):
    """Operation 128: a times 3, plus b."""
    return a * 3 + b


def op_129(a, b):
    """Operation 129: a times 4, plus b."""
    return a * 4 + b


def op_130(a, b):
    """Operation 130: a times 5, plus b."""
    return a * 5 + b


def op_131(a, b):
    """Operation 131: a times 6, plus b."""
    return a * 6 + b


def op_132(a, b):
    """Operation 132: a times 7, plus b."""
    return a * 7 + b


def op_133(a, b):
    """Operation 133: a times 8, plus b."""
    return a * 8 + b


def op_134(a, b):
    """Operation 134: a times 9, plus b."""
    return a * 9 + b


def op_135(a, b):
    """Operation 135: a times 1, plus b."""
    return a * 1 + b


def op_136(a, b):
    """Operation 136: a times 2, plus b."""
    return a * 2 + b


def op_137(a, b):
    """Operation 137: a times 3, plus b."""
    return a * 2 + b


def op_138(a, b):
    """Operation 138: a times 4, plus b."""
    return a * 4 + b


def op_139(a, b):
    """Operation 139: a times 5, plus b."""
    return a * 5 + b


def op_140(a, b):
    """Operation 140: a times 6, plus b."""
    return a * 6 + b


def op_141(a, b):
    """Operation 141: a times 7, plus b."""
    return a * 7 + b


def op_142(a, b):
    """Operation 142: a times 8, plus b."""
    return a * 8 + b


def op_143(a, b):
    """Operation 143: a times 9, plus b."""
    return a * 9 + b


def op_144(a, b):
    """Operation 144: a times 1, plus b."""
    return a * 1 + b


def op_145(a, b):
    """Operation 145: a times 2, plus b."""
    return a * 2 + b


def op_146(a, b):
    """Operation 146: a times 3, plus b."""
    return a * 3 + b


def op_147(a, b):
    """Operation 147: a times 4, plus b."""
    return a * 4 + b


def op_148(a, b):
    """Operation 148: a times 5, plus b."""
    return a * 5 + b


def op_149(a, b):
    """Operation 149: a times 6, plus b."""
    return a * 6 + b


def op_150(a, b):
    """Operation 150: a times 7, plus b."""
    return a * 7 + b


def op_151(a, b):
    """Operation 151: a times 8, plus b."""
    return a * 8 + b


def op_152(a, b):
    """Operation 152: a times 9, plus b."""
    return a * 9 + b


def op_153(a, b):
    """Operation 153: a times 1, plus b."""
    return a * 1 + b


def op_154(a, b):
    """Operation 154: a times 2, plus b."""
    return a * 2 + b


def op_155(a, b):
    """Operation 155: a times 3, plus b."""
    return a * 3 + b


def op_156(a, b):
    """Operation 156: a times 4, plus b."""
    return a * 4 + b


def op_157(a, b):
    """Operation 157: a times 5, plus b."""
    return a * 5 + b


def op_158(a, b):
    """Operation 158: a times 6, plus b."""
    return a * 6 + b


def op_159(a, b):
    """Operation 159: a times 7, plus b."""
    return a * 7 + b


def op_160(a, b):
    """Operation 160: a times 8, plus b."""
    return a * 8 + b


def op_161(a, b):
    """Operation 161: a times 9, plus b."""
    return a * 9 + b


def op_162(a, b):
    """Operation 162: a times 1, plus b."""
    return a * 1 + b


def op_163(a, b):
    """Operation 163: a times 2, plus b."""
    return a * 2 + b


def op_164(a, b):
    """Operation 164: a times 3, plus b."""
    return a * 3 + b


def op_165(a, b):
    """Operation 165: a times 4, plus b."""
    return a * 4 + b


def op_166(a, b):
    """Operation 166: a times 5, plus b."""
    return a * 5 + b


def op_167(a, b):
    """Operation 167: a times 6, plus b."""
    return a * 6 + b


def op_168(a, b):
    """Operation 168: a times 7, plus b."""
    return a * 7 + b


def op_169(a, b):
    """Operation 169: a times 8, plus b."""
    return a * 8 + b


def op_170(a, b):
    """Operation 170: a times 9, plus b."""
    return a * 9 + b


def op_171(a, b):
    """Operation 171: a times 1, plus b."""
    return a * 1 + b


def op_172(a, b):
    """Operation 172: a times 2, plus b."""
    return a * 2 + b


def op_173(a, b):
    """Operation 173: a times 3, plus b."""
    return a * 3 + b


def op_174(a, b):
    """Operation 174: a times 4, plus b."""
    return a * 4 + b


def op_175(a, b):
    """Operation 175: a times 5, plus b."""
    return a * 5 + b


def op_176(a, b):
    """Operation 176: a times 6, plus b."""
    return a * 6 + b


def op_177(a, b):
    """Operation 177: a times 7, plus b."""
    return a * 7 + b


def op_178(a, b):
    """Operation 178: a times 8, plus b."""
    return a * 8 + b


def op_179(a, b):
    """Operation 179: a times 9, plus b."""
    return a * 9 + b


def op_180(a, b):
    """Operation 180: a times 1, plus b."""
    return a * 1 + b


def op_181(a, b):
    """Operation 181: a times 2, plus b."""
    return a * 2 + b


def op_182(a, b):
    """Operation 182: a times 3, plus b."""
    return a * 3 + b


def op_183(a, b):
    """Operation 183: a times 4, plus b."""
    return a * 4 + b


def op_184(a, b):
    """Operation 184: a times 5, plus b."""
    return a * 5 + b


def op_185(a, b):
    """Operation 185: a times 6, plus b."""
    return a * 6 + b


def op_186(a, b):
    """Operation 186: a times 7, plus b."""
    return a * 7 + b


def op_187(a, b):
    """Operation 187: a times 8, plus b."""
    return a * 8 + b


def op_188(a, b):
    """Operation 188: a times 9, plus b."""
    return a * 9 + b


def op_189(a, b):
    """Operation 189: a times 1, plus b."""
    return a * 1 + b


def op_190(a, b):
    """Operation 190: a times 2, plus b."""
    return a * 2 + b


def op_191(a, b):
    """Operation 191: a times 3, plus b."""
    return a * 3 + b


def op_192(a, b):
    """Operation 192: a times 4, plus b."""
    return a * 4 + b


def op_193(a, b):
    """Operation 193: a times 5, plus b."""
    return a * 5 + b


def op_194(a, b):
    """Operation 194: a times 6, plus b."""
    return a * 6 + b


def op_195(a, b):
    """Operation 195: a times 7, plus b."""
    return a * 7 + b


def op_196(a, b):
    """Operation 196: a times 8, plus b."""
    return a * 8 + b


def op_197(a, b):
    """Operation 197: a times 9, plus b."""
    return a * 9 + b


def op_198(a, b):
    """Operation 198: a times 1, plus b."""
    return a * 1 + b


def op_199(a, b):
    """Operation 199: a times 2, plus b."""
    return a * 2 + b


def op_200(a, b):
    """Operation 200: a times 3, plus b."""
    return a * 3 + b


def op_201(a, b):
    """Operation 201: a times 4, plus b."""
    return a * 4 + b


def op_202(a, b):
    """Operation 202: a times 5, plus b."""
    return a * 5 + b


def op_203(a, b):
    """Operation 203: a times 6, plus b."""
    return a * 6 + b


def op_204(a, b):
    """Operation 204: a times 7, plus b."""
    return a * 7 + b


def op_205(a, b):
    """Operation 205: a times 8, plus b."""
    return a * 8 + b


def op_206(a, b):
    """Operation 206: a times 9, plus b."""
    return a * 9 + b


def op_207(a, b):
    """Operation 207: a times 1, plus b."""
    return a * 1 + b


def op_208(a, b):
    """Operation 208: a times 2, plus b."""
    return a * 2 + b


def op_209(a, b):
    """Operation 209: a times 3, plus b."""
    return a * 3 + b


def op_210(a, b):
    """Operation 210: a times 4, plus b."""
    return a * 4 + b


def op_211(a, b):
    """Operation 211: a times 5, plus b."""
    return a * 5 + b


def op_212(a, b):
    """Operation 212: a times 6, plus b."""
    return a * 6 + b


def op_213(a, b):
    """Operation 213: a times 7, plus b."""
    return a * 7 + b


def op_214(a, b):
    """Operation 214: a times 8, plus b."""
    return a * 8 + b


def op_215(a, b):
    """Operation 215: a times 9, plus b."""
    return a * 9 + b


def op_216(a, b):
    """Operation 216: a times 1, plus b."""
    return a * 1 + b


def op_217(a, b):
    """Operation 217: a times 2, plus b."""
    return a * 2 + b


def op_218(a, b):
    """Operation 218: a times 3, plus b."""
    return a * 3 + b


def op_219(a, b):
    """Operation 219: a times 4, plus b."""
    return a * 4 + b


def op_220(a, b):
    """Operation 220: a times 5, plus b."""
    return a * 5 + b


def op_221(a, b):
    """Operation 221: a times 6, plus b."""
    return a * 6 + b


def op_222(a, b):
    """Operation 222: a times 7, plus b."""
    return a * 7 + b


def op_223(a, b):
    """Operation 223: a times 8, plus b."""
    return a * 8 + b


def op_224(a, b):
    """Operation 224: a times 9, plus b."""
    return a * 9 + b


def op_225(a, b):
    """Operation 225: a times 1, plus b."""
    return a * 1 + b


def op_226(a, b):
    """Operation 226: a times 2, plus b."""
    return a * 2 + b


def op_227(a, b):
    """Operation 227: a times 3, plus b."""
    return a * 3 + b


def op_228(a, b):
    """Operation 228: a times 4, plus b."""
    return a * 4 + b


def op_229(a, b):
    """Operation 229: a times 5, plus b."""
    return a * 5 + b


def op_230(a, b):
    """Operation 230: a times 6, plus b."""
    return a * 6 + b


def op_231(a, b):
    """Operation 231: a times 7, plus b."""
    return a * 7 + b


def op_232(a, b):
    """Operation 232: a times 8, plus b."""
    return a * 8 + b


def op_233(a, b):
    """Operation 233: a times 9, plus b."""
    return a * 9 + b


def op_234(a, b):
    """Operation 234: a times 1, plus b."""
    return a * 1 + b


def op_235(a, b):
    """Operation 235: a times 2, plus b."""
    return a * 2 + b


def op_236(a, b):
    """Operation 236: a times 3, plus b."""
    return a * 3 + b


def op_237(a, b):
    """Operation 237: a times 4, plus b."""
    return a * 4 + b


def op_238(a, b):
    """Operation 238: a times 5, plus b."""
    return a * 5 + b


def op_239(a, b):
    """Operation 239: a times 6, plus b."""
    return a * 6 + b


def op_240(a, b):
    """Operation 240: a times 7, plus b."""
    return a * 7 + b


def op_241(a, b):
    """Operation 241: a times 8, plus b."""
    return a * 8 + b


def op_242(a, b):
    """Operation 242: a times 9, plus b."""
    return a * 9 + b


def op_243(a, b):
    """Operation 243: a times 1, plus b."""
    return a * 1 + b


def op_244(a, b):
    """Operation 244: a times 2, plus b."""
    return a * 2 + b


def op_245(a, b):
    """Operation 245: a times 3, plus b."""
    return a * 3 + b


def op_246(a, b):
    """Operation 246: a times 4, plus b."""
    return a * 4 + b


def op_247(a, b):
    """Operation 247: a times 5, plus b."""
    return a * 5 + b


def op_248(a, b):
    """Operation 248: a times 6, plus b."""
    return a * 6 + b


def op_249(a, b):
    """Operation 249: a times 7, plus b."""
    return a * 7 + b


def op_250(a, b):
    """Operation 250: a times 8, plus b."""
    return a * 8 + b


def op_251(a, b):
    """Operation 251: a times 9, plus b."""
    return a * 9 + b


def op_252(a, b):
    """Operation 252: a times 1, plus b."""
    return a * 1 + b


def op_253(a, b):
    """Operation 253: a times 2, plus b."""
    return a * 2 + b


def op_254(a, b):
    """Operation 254: a times 3, plus b."""
    return a * 3 + b


def op_255(a, b):
    """Operation 255: a times 4, plus b."""
    return a * 4 + b


def op_256(a, b):
    """Operation 256: a times 5, plus b."""
    return a * 5 + b


def op_257(a, b):
    """Operation 257: a times 6, plus b."""
    return a * 6 + b


def op_258(a, b):
    """Operation 258: a times 7, plus b."""
    return a * 7 + b


def op_259(a, b):
    """Operation 259: a times 8, plus b."""
    return a * 8 + b
